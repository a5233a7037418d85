"""What descends from a process, living or ended."""

import os
from collections.abc import Iterator

from fleetform.host import processes
from fleetform.host.processes import Identity


def descendants(pid: int) -> Iterator[Identity]:
    """Living descendants of pid, parents before their children."""
    for stat in processes.all_stats():
        if stat.parent == pid and stat.state not in "ZX":
            identity = processes.identify(stat.pid)
            if identity is not None:
                yield identity
                yield from descendants(stat.pid)


def reap() -> None:
    """Collect the children of ours that have ended and that nobody else waits for."""
    for stat in processes.all_stats():
        if stat.parent == os.getpid() and stat.state == "Z":
            try:
                os.waitpid(stat.pid, os.WNOHANG)
            except ChildProcessError:
                continue
