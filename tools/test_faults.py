"""`make test-faults`: the fault table row by row, the crash points of a rollout, and 10,000 seeds of the simulator.

Exit status 0 when all is green.

What `make test` has a short selection of runs here in full. The stage of the rows ends with how many of them are automated and green.
"""

import sys

from steps import ROOT

sys.path.insert(0, str(ROOT / "api"))

import environment
import test
from test import Stage

SEEDS = 10_000


def main() -> int:
    """Install, then run every stage; exit status 1 when any failed."""
    return test.run("make-test-faults", stages, "All faults are survived")


def stages(go: str) -> list[Stage]:
    """One after another: faults are timed, and real engines need the memory."""
    pytest = (str(environment.VENV / "bin" / "python"), "-m", "pytest")
    return [
        Stage("long simulation", (*pytest, "-m", "faults", "--ignore=tests/faults", f"--seeds={SEEDS}")),
        Stage("rows of the fault table", (*pytest, "-p", "tests.faults.rows", "tests/faults")),
    ]


if __name__ == "__main__":
    sys.exit(main())
