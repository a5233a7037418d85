"""`make check`: style, types, import contracts, Go, and fresh generated files. All are run; exit status 1 when any complains."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from steps import ROOT, StepFailed, fail, home, run, step

sys.path.insert(0, str(ROOT / "api"))

import environment
import provider
from fleetform.errors import SetupError

GOLANGCI_LINT = "v2.15.0"


def main() -> int:
    """Install the tools, run every check, name those that complained."""
    log = home() / "logs" / "make-check.log"
    try:
        environment.install(environment.lock_name(tests=True), log)
        go = provider.go(log)
        linter = golangci_lint(go, log)
    except SetupError as error:
        return fail(f"Error: {error.message}")
    except StepFailed as error:
        return fail(f"Error: {error}", error.log)
    failed = [name for name, command, cwd in checks(go, linter) if not passes(name, command, cwd)]
    print(f"\n{'Complaints: ' + ', '.join(failed) if failed else 'All clean'}")
    return 1 if failed else 0


def checks(go: str, linter: str) -> list[tuple[str, list[str], Path]]:
    """Name, command, folder."""
    tool = environment.VENV / "bin"
    return [
        ("ruff", [str(tool / "ruff"), "check", "."], ROOT),
        ("ruff format", [str(tool / "ruff"), "format", "--check", "."], ROOT),
        ("mypy", [str(tool / "mypy")], ROOT),
        *((f"mypy {folder}", [str(tool / "mypy"), folder], ROOT) for folder in ("tools", "tests", "benchmarks")),
        ("import contracts", [str(tool / "lint-imports")], ROOT),
        ("go vet", [go, "vet", "./..."], provider.SOURCE),
        ("golangci-lint", [linter, "run", "./..."], provider.SOURCE),
        ("generated files", [str(tool / "python"), "tools/generate.py", "--check"], ROOT),
    ]


def passes(name: str, command: list[str], cwd: Path) -> bool:
    """True when command ends with 0; its output is shown otherwise."""
    begun = time.monotonic()
    path = f"{environment.VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, cwd=cwd, env={**os.environ, "PATH": path}, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    print(f"  {name:<20} {'ok' if done.returncode == 0 else 'complains':<10} {time.monotonic() - begun:6.1f} s", flush=True)
    if done.returncode != 0:
        print(done.stdout + done.stderr)
    return done.returncode == 0


def golangci_lint(go: str, log: Path) -> str:
    """golangci-lint of the pinned version, built into `.venv` when it is not there."""
    program = environment.VENV / "bin" / "golangci-lint"
    shown = subprocess.run([str(program), "version"], capture_output=True, text=True).stdout if program.exists() else ""
    if GOLANGCI_LINT.removeprefix("v") not in shown:
        with step("Building golangci-lint"):
            module = f"github.com/golangci/golangci-lint/v2/cmd/golangci-lint@{GOLANGCI_LINT}"
            run([go, "install", module], log, {**os.environ, "GOBIN": str(program.parent), "CGO_ENABLED": "0"})
    return shutil.which(str(program)) or str(program)


if __name__ == "__main__":
    sys.exit(main())
