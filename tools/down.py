"""`make down`: stop all that `make up` started. Standard library only."""

import os
import subprocess
import sys

from steps import ROOT, home


def main() -> int:
    """Hand over to `fleetform down` of the environment; without one nothing can run."""
    program = ROOT / ".venv" / "bin" / "fleetform"
    if not program.exists():
        print("Nothing is installed in .venv, so nothing runs.")
        return 0
    return subprocess.run([str(program), "down"], env={**os.environ, "FLEETFORM_HOME": str(home())}).returncode


if __name__ == "__main__":
    sys.exit(main())
