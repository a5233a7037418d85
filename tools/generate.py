"""`make generate`: write everything that is made from something else anew; `--check` says what is stale and changes nothing.

Each target is made in a copy of what it is made from, and only then put in its place, so that a failure leaves the checkout as it
was. Targets are made in order: the clients from the openapi.yaml that was made just before.
"""

import difflib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from steps import ROOT, StepFailed, fail, home

sys.path.insert(0, str(ROOT / "api"))

import environment
from fleetform.errors import SetupError

DIFF_LINES = 20


def main() -> int:
    """Make every target, or with --check compare it; exit status 1 when one is stale or could not be made."""
    check = "--check" in sys.argv[1:]
    if not _in_environment():
        return _again_in_environment()
    # What the targets import is only there now.
    import targets

    stale = []
    with tempfile.TemporaryDirectory(prefix="fleetform-generate-") as folder:
        for target in targets.ALL:
            began = time.monotonic()
            try:
                target.make(Path(folder))
            except (subprocess.CalledProcessError, SetupError) as error:
                return fail(f"Error: {target.name} could not be made: {error}")
            differences = [difference for path in target.paths for difference in compare(ROOT / path, Path(folder, path))]
            if differences:
                stale.append(target.name)
            if not check:
                for path in target.paths:
                    put(Path(folder, path), ROOT / path)
            state = "fresh" if not differences else "stale" if check else "written"
            print(f"  {target.name:<40} {state:<8} {time.monotonic() - began:6.1f} s", flush=True)
            if check:
                print("".join(f"    {line}\n" for line in differences[:DIFF_LINES]), end="")
    if check and stale:
        return fail(f"Stale: {', '.join(stale)}. Run `make generate` and commit what it writes.")
    return 0


def compare(old: Path, new: Path) -> list[str]:
    """What differs between two files or folders, as lines of a diff; empty when nothing does."""
    names = sorted({path.relative_to(root) for root in (old, new) for path in _files(root)})
    lines: list[str] = []
    for name in names:
        ours, theirs = (_lines(root / name) for root in (old, new))
        shown = str(old.relative_to(ROOT) / name) if old.is_relative_to(ROOT) else str(name)
        lines.extend(difflib.unified_diff(ours, theirs, shown, f"{shown} (made anew)", lineterm="", n=0))
    return lines


def put(new: Path, old: Path) -> None:
    """Put new in the place of old; a file that is no longer made goes."""
    for path in _files(old):
        if not (new / path.relative_to(old)).exists():
            path.unlink()
    for path in _files(new):
        target = old / path.relative_to(new)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != path.read_bytes():
            shutil.copyfile(path, target)


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    return sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


def _in_environment() -> bool:
    return Path(sys.prefix).resolve() == environment.VENV.resolve()


def _again_in_environment() -> int:
    """Run this program with the Python of `.venv`, which has the generators."""
    log = home() / "logs" / "make-generate.log"
    try:
        environment.install(environment.lock_name(tests=True), log)
    except SetupError as error:
        return fail(f"Error: {error.message}")
    except StepFailed as error:
        return fail(f"Error: {error}", error.log)
    return subprocess.run([str(environment.VENV / "bin" / "python"), *sys.argv]).returncode


if __name__ == "__main__":
    sys.exit(main())
