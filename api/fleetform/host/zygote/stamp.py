"""Whether the software on disk is still that which a process has imported. Standard library only."""

import hashlib
import importlib.util
import os
import sys
from pathlib import Path


class Imported:
    """The environment of this interpreter as it was when this was made, before packages were imported from it."""

    def __init__(self, packages: tuple[str, ...]) -> None:
        self.packages = packages
        self.folders = tuple(sys.path)  # a package that is imported may add its own
        self.stamp = self._now()

    def is_outdated(self) -> bool:
        """True when something was installed or removed since, or the first file of one of the packages is another."""
        return self._now() != self.stamp

    def _now(self) -> str:
        facts = [*((folder, _installed(folder)) for folder in self.folders), *((name, _first_file(name)) for name in self.packages)]
        return hashlib.sha256(repr(facts).encode()).hexdigest()


def _installed(folder: str) -> list[str]:
    """Names and versions, as installers write them into a folder's name."""
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith((".dist-info", ".egg-info")))  # noqa: PTH208  # one call
    except OSError:
        return []


def _first_file(package: str) -> tuple[int, int, int] | None:
    try:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            return None
        found = Path(spec.origin).stat()
    except (OSError, ImportError, ValueError):
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
