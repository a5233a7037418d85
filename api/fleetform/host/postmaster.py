"""Become PostgreSQL: `python -m fleetform.host.postmaster LOCK LOCK ARGV…`. The process stays the same one: its pid is the child's.

As root it first becomes `nobody` (unprivileged.py). And it frees the lock files from a dead owner: PostgreSQL takes a killed
predecessor that nobody has collected yet for a living one, and where the first process of a machine collects nothing it would never
start again. Nor would it where, after a start of the machine or of its container, another program has got its old pid.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fleetform.host import processes, unprivileged


def main(words: Sequence[str]) -> None:
    """Does not return."""
    for lock in words[:2]:
        free(Path(lock))
    if os.geteuid() == 0:
        unprivileged.become_nobody()
    os.execv(words[2], list(words[2:]))  # noqa: S606  # the caller's argument list, no shell


def free(lock: Path) -> None:
    """Put our own pid in place of a zombie's or a stranger's, which PostgreSQL then knows to be stale.

    The rest of the file stays: by its shared memory PostgreSQL sees whether children of the dead server still use the data.
    """
    try:
        owner, data, *rest = lock.read_text().splitlines(keepends=True)
        found = processes.read_stat(abs(int(owner)))
        # A server works in its data directory, which the file names.
        is_dead = found is not None and (found.state in "ZX" or not Path(f"/proc/{found.pid}/cwd").samefile(data.strip()))
    except (OSError, ValueError):  # none there, not one that PostgreSQL has finished writing, or an owner who cannot be looked at
        return
    if is_dead:
        lock.write_text("".join([f"{os.getpid()}\n", data, *rest]))


if __name__ == "__main__":
    main(sys.argv[1:])
