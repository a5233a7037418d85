"""The first moment of every process we start: hold until its record is on disk, then become it.

A program of its own, `gate.py FD free|confined ARGV…`, that imports the standard library alone (it runs with -I -S). The pid, start time
and session that the parent records before it opens the gate stay the same through the exec.
"""

import ctypes
import os
import resource
import sys

OPEN = b"1"
NOT_OPENED = 125
PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    """Become ARGV when the gate opens; end when it closes unopened, because then the parent died before it had a record."""
    gate, mode, argv = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if os.read(gate, 1) != OPEN:
        os._exit(NOT_OPENED)
    os.close(gate)
    if mode == "confined":
        confine()
    try:
        os.execvpe(argv[0], argv, os.environ)  # noqa: S606  # argv comes from our own record
    except OSError as error:
        os.write(2, f"cannot start {argv[0]}: {error.strerror}\n".encode())
        os._exit(127)


def confine() -> None:
    """For good: no core dumps, no new privileges, umask 077."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


if __name__ == "__main__":
    main()
