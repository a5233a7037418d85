"""The kernel's freezer (control groups v1): processes that do nothing, and that no state in /proc gives away as stopped."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup/freezer")


def is_usable() -> bool:
    """True when this machine has a freezer that we may use."""
    return (ROOT / "tasks").exists() and os.access(ROOT, os.W_OK)


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """The process in the freezer while the block runs. One that has ended meanwhile is no error."""
    group = ROOT / f"fleetform-test-{pid}"
    group.mkdir()
    try:
        (group / "tasks").write_text(str(pid))
        (group / "freezer.state").write_text("FROZEN")
        yield
    finally:
        (group / "freezer.state").write_text("THAWED")
        with contextlib.suppress(ProcessLookupError):
            (ROOT / "tasks").write_text(str(pid))
        group.rmdir()
