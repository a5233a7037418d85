"""The first moment of every process we start: hold until its record is on disk, then become it.

A program of its own, `gate.py FD MODE ARGV…`, that imports the standard library alone (it runs with -I -S). The pid, start time
and session that the parent records before it opens the gate stay the same through the exec.
"""

import ctypes
import os
import resource
import struct
import sys

OPEN = b"1"
FREE, CONFINED, SNAPSHOT = "free", "confined", "snapshot"
NOT_OPENED = 125
PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
ENOSYS = 38
NO_IO_URING = (
    (0x20, 0, 0, 0),  # load the number of the call
    (0x15, 0, 1, 425),  # io_uring_setup, which has this number on every architecture
    (0x06, 0, 0, 0x00050000 | ENOSYS),  # return this error
    (0x06, 0, 0, 0x7FFF0000),  # allow
)
"""A filter of calls, in the kernel's classic BPF."""


def main() -> None:
    """Become ARGV when the gate opens; end when it closes unopened, because then the parent died before it had a record."""
    gate, mode, argv = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if os.read(gate, 1) != OPEN:
        os._exit(NOT_OPENED)
    os.close(gate)
    if mode != FREE:
        confine()
    if mode == SNAPSHOT:
        forbid_io_uring()
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


def forbid_io_uring() -> None:
    """For good: io_uring_setup fails with ENOSYS. CRIU cannot put such a ring on disk, and libuv, which takes one, does without.

    After `confine`: without new privileges a filter needs no right. Where the kernel has no filters, an engine cannot be put on disk.
    """
    buffer = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in NO_IO_URING))
    program = _Program(len(NO_IO_URING), ctypes.addressof(buffer))
    ctypes.CDLL(None).prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


if __name__ == "__main__":
    main()
