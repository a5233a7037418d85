import sys
from pathlib import Path

# The tools are programs, not a package: they find each other in their own folder.
sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
