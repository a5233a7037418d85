"""`make test`: install what tests need, then every test that must be green, stage by stage. Exit status 0 when all are.

A stage that fails does not keep the next ones from running, so that one run tells everything. Each begins with a line of its own and
ends with its time; the last line is the total.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from steps import ROOT, StepFailed, fail, home

sys.path.insert(0, str(ROOT / "api"))

import environment
import provider
from fleetform.cli import preflight
from fleetform.errors import SetupError

SIDE_BY_SIDE_MIB = 6 * 1024
"""Memory below which the Python tests run one after another."""
ENGINES_MIB = 9 * 1024
"""Memory for the stage with real engines: three at a time, and the rest of the stack."""
DISK_MIB = 18 * 1024


class Stage(NamedTuple):
    """One stage: its name, its command and where it runs."""

    name: str
    command: tuple[str, ...]
    cwd: Path = ROOT
    variables: tuple[tuple[str, str], ...] = ()


def main() -> int:
    """Install, then run every stage; exit status 1 when any failed."""
    return run("make-test", stages, "All tests passed")


def run(log_name: str, stages_of: Callable[[str], list[Stage]], when_passed: str) -> int:
    """Install, then run the stages that stages_of makes of the Go program; a table of them at the end. 1 when any failed."""
    begun = time.monotonic()
    log = home() / "logs" / f"{log_name}.log"
    try:
        program = prepare(log)
    except SetupError as error:
        return fail(f"Error: {error.message}")
    except StepFailed as error:
        return fail(f"Error: {error}", error.log)
    results = [("installing", True, time.monotonic() - begun), *(run_stage(stage) for stage in stages_of(program))]
    print()
    for name, passed, seconds in results:
        print(f"  {'ok    ' if passed else 'FAILED'}  {name:<44} {seconds:7.1f} s")
    failed = [name for name, passed, _ in results if not passed]
    total = time.monotonic() - begun
    print(f"\n{'FAILED: ' + ', '.join(failed) if failed else when_passed} in {total / 60:.1f} minutes")
    return 1 if failed else 0


def prepare(log: Path) -> str:
    """Check the machine and install; returns the Go program."""
    preflight.check_platform()
    provider.find_terraform()
    name = environment.lock_name(tests=True)
    if not environment.is_installed(name):
        environment.check_venv_module()
        preflight.check_disk(ROOT, DISK_MIB, "Installing Fleetform with everything that tests need")
    preflight.check_memory(ENGINES_MIB, "The test stage with real engines")
    environment.install(name, log)
    provider.build(log)
    return provider.go(log)


def stages(go: str) -> list[Stage]:
    """Quick ones first. Real engines come last and alone: they need the memory."""
    side_by_side = ("-n", "2") if preflight.available_memory_mib() >= SIDE_BY_SIDE_MIB else ()
    pytest = (str(environment.VENV / "bin" / "python"), "-m", "pytest")
    return [
        Stage("Python", (*pytest, *side_by_side, "-m", "not real and not terraform and not gpu and not faults")),
        Stage("Go", (go, "test", "./..."), provider.SOURCE),
        Stage("Terraform acceptance", (go, "test", "-count=1", "-timeout=20m", "./..."), provider.SOURCE, acceptance_variables()),
        Stage("Terraform with the examples", (*pytest, "-m", "terraform and not real")),
        Stage("real engines", (*pytest, "-m", "real and not faults")),
    ]


def acceptance_variables() -> tuple[tuple[str, str], ...]:
    """What the provider's acceptance tests look for."""
    return (
        ("TF_ACC", "1"),
        ("TF_ACC_TERRAFORM_PATH", str(provider.find_terraform())),
        ("FLEETFORM_PYTHON", str(environment.VENV / "bin" / "python")),
    )


def run_stage(stage: Stage) -> tuple[str, bool, float]:
    """Run it with its output shown; its name, whether it passed, and its seconds."""
    print(f"\n=== {stage.name}", flush=True)
    begun = time.monotonic()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("FLEETFORM_", "TF_", "OPENAI_", "VLLM_"))}
    environ |= dict(stage.variables)
    done = subprocess.run(stage.command, cwd=stage.cwd, env=environ, stdin=subprocess.DEVNULL)
    seconds = time.monotonic() - begun
    print(f"=== {stage.name}: {'passed' if done.returncode == 0 else 'FAILED'} in {seconds:.1f} s", flush=True)
    return stage.name, done.returncode == 0, seconds


if __name__ == "__main__":
    sys.exit(main())
