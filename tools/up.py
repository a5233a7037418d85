"""`make up`: from an empty checkout to a model's answer; again: quick, and Terraform says "No changes".

Standard library only: this runs before anything is installed.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from steps import ROOT, StepFailed, fail, home, run, step

sys.path.insert(0, str(ROOT / "api"))

import environment
import provider
from fleetform.cli import preflight
from fleetform.errors import SetupError

DISK_FIRST_MIB = 16 * 1024
DISK_AGAIN_MIB = 2 * 1024
MEMORY_MIB = 7 * 1024
REFUSED = 3
"""Exit status of ask.py when the gateway does not take the key."""


def main() -> int:
    """Every step in order; exit status 0 once the model has answered."""
    begun = time.monotonic()
    log = home() / "logs" / "make-up.log"
    try:
        terraform = check()
        home().mkdir(mode=0o700, parents=True, exist_ok=True)
        environment.install(environment.lock_name(tests=False), log)
        provider.build(log)
        cli_config = provider.install(home())
        with step("Starting Fleetform"):
            run([fleetform(), "up", "--detach"], log, child_environment())
        with step("Preparing the quickstart's models"):
            run([python(), "tools/quickstart_models.py", str(home() / "models")], log)
        apply(terraform, cli_config, log)
        answer = ask(terraform, cli_config, log)
    except SetupError as error:
        return fail(f"Error: {error.message}")
    except StepFailed as error:
        return fail(f"Error: {error}", error.log)
    print(f"\n{answer}\n")
    print(closing_words(time.monotonic() - begun))
    return 0


def check() -> Path:
    """Everything that must hold before anything is changed; returns the Terraform to use."""
    preflight.check_platform()
    terraform = provider.find_terraform()
    installed = environment.is_installed(environment.lock_name(tests=False))
    if not installed:
        environment.check_venv_module()
        preflight.check_disk(ROOT, DISK_FIRST_MIB, "Installing Fleetform with a model engine")
    preflight.check_disk(home(), DISK_AGAIN_MIB, "The database, the logs and the quickstart's models")
    ports = {name: port(name, default) for name, default in (("FLEETFORM_API_PORT", 7081), ("FLEETFORM_GATEWAY_PORT", 7080))}
    preflight.check_ports(ports, home())
    if not preflight.running(home()):
        preflight.check_memory(MEMORY_MIB, "Fleetform with the quickstart's model")
    return terraform


def apply(terraform: Path, cli_config: Path, log: Path, *extra: str) -> None:
    """Copy the quickstart into home and apply it there, so that state and lock file stay out of the checkout."""
    folder = home() / "quickstart"
    folder.mkdir(mode=0o700, exist_ok=True)
    for source in (ROOT / "terraform-examples" / "quickstart").glob("*.tf"):
        (folder / source.name).write_bytes(source.read_bytes())
    environ = terraform_environment(cli_config)
    variables = ["-var", f"home={home()}", "-var", f"instance_type={instance_type()}"]
    if not initialised(folder):
        with step("terraform init"):
            (folder / ".terraform.lock.hcl").unlink(missing_ok=True)
            run([str(terraform), f"-chdir={folder}", "init", "-input=false", "-no-color"], log, environ)
            (folder / "provider-sources").write_text(provider.sources_digest())
    size = log.stat().st_size if log.exists() else 0
    with step("terraform apply (the first time it starts the model)"):
        run([str(terraform), f"-chdir={folder}", "apply", "-auto-approve", "-input=false", "-no-color", *variables, *extra], log, environ)
    said = log.read_bytes()[size:].decode(errors="replace")
    for line in re.findall(r"^(No changes\..*|Apply complete!.*)$", said, re.MULTILINE):
        print(f"    {line}")


def initialised(folder: Path) -> bool:
    """True when `terraform init` has been run with the provider as it is now."""
    try:
        return (folder / "provider-sources").read_text() == provider.sources_digest() and (folder / ".terraform").is_dir()
    except OSError:
        return False


def ask(terraform: Path, cli_config: Path, log: Path) -> str:
    """The model's answer, with the key that Terraform handed over; a refused key is renewed once."""
    with step("Asking the model with the OpenAI SDK"):
        done = _ask()
    if done.returncode == REFUSED:
        print("    The gateway refuses the quickstart's key: renewing it.")
        apply(terraform, cli_config, log, "-replace=terraform_data.key")
        with step("Asking the model with the OpenAI SDK"):
            done = _ask()
    if done.returncode != 0:
        raise SetupError(f"the model did not answer: {done.stderr.strip()}; `{fleetform()} status` and {home()}/logs tell more")
    return done.stdout.rstrip()


def _ask() -> "subprocess.CompletedProcess[str]":
    command = [python(), "tools/ask.py", str(home() / "env"), str(home() / "quickstart.key")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def instance_type() -> str:
    """The instance type the first start made for this machine: the GPU's where there is one."""
    command = [fleetform(), "instance-type", "list", "--output", "json"]
    done = subprocess.run(command, env={**os.environ, **home_variables()}, capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        raise SetupError(f"the control API did not list its instance types: {done.stderr.strip()}")
    names = sorted(item["metadata"]["name"] for item in json.loads(done.stdout))
    return next((name for name in names if name.startswith("gpu-")), "cpu-small")


def terraform_environment(cli_config: Path) -> dict[str, str]:
    """What Terraform sees: our variables, and none of its own that a shell may have set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    return {**kept, **home_variables(), "TF_CLI_CONFIG_FILE": str(cli_config), "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}


def home_variables() -> dict[str, str]:
    """What FLEETFORM_HOME/env says."""
    lines = re.findall(r"^export (\w+)=(.*)$", (home() / "env").read_text(), re.MULTILINE)
    return {name: value.strip("'") for name, value in lines}


def child_environment() -> dict[str, str]:
    """The shell's environment with the home this script uses."""
    return {**os.environ, "FLEETFORM_HOME": str(home())}


def closing_words(seconds: float) -> str:
    """What to type next."""
    shown = Path(os.path.relpath(home())) if home().is_relative_to(Path.cwd()) else home()
    return f"""Fleetform runs; that took {seconds:.0f} s. To go on in this shell:

  . {shown}/env && export PATH="{ROOT}/.venv/bin:$PATH"
  fleetform endpoint list
  fleetform replicas --endpoint chat
  fleetform status

The quickstart's Terraform files are in {shown}/quickstart, README.md goes on from here, and `make down` stops everything."""


def port(variable: str, default: int) -> int:
    """A port from the environment."""
    text = os.environ.get(variable) or str(default)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise SetupError(f"{variable} is {text!r}; it must be a port number")
    return int(text)


def python() -> str:
    return str(environment.VENV / "bin" / "python")


def fleetform() -> str:
    return str(environment.VENV / "bin" / "fleetform")


if __name__ == "__main__":
    sys.exit(main())
