"""`make bench F=Fn`: measure one figure. Its last line is the verdict; exit status 0 when the target is met, 1 when it is short."""

import os
import subprocess
import sys

from steps import ROOT, StepFailed, fail, home

sys.path.insert(0, str(ROOT / "api"))

import environment
import provider
from fleetform.errors import SetupError

BENCHMARKS = ROOT / "benchmarks"


def main(words: list[str]) -> int:
    """Install what benchmarks need, then run the one asked for."""
    figures = (path.stem.upper() for path in BENCHMARKS.glob("f[0-9]*.py") if path.stem[1:].isdigit())
    known = sorted(figures, key=lambda name: int(name[1:]))
    if len(words) != 1 or words[0].upper() not in known:
        return fail(f"Say which figure: make bench F=<one of {', '.join(known)}>")
    log = home() / "logs" / "make-bench.log"
    try:
        environment.install(environment.lock_name(tests=True), log)
        provider.build(log)
    except SetupError as error:
        return fail(f"Error: {error.message}")
    except StepFailed as error:
        return fail(f"Error: {error}", error.log)
    program = str(environment.VENV / "bin" / "python")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("FLEETFORM_", "TF_"))}
    return subprocess.run([program, "-m", f"benchmarks.{words[0].lower()}"], cwd=ROOT, env=environ, stdin=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
