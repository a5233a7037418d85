"""Run a program that refuses to be root: `python -m fleetform.host.unprivileged ARGV…`.

PostgreSQL will not start as root, yet on many machines root is all there is and the home lies where no other user may look. So the
program becomes `nobody`, and keeps the one capability that lets it reach its files; it can gain nothing more. The process stays the
same one: its pid is the child's.
"""

import ctypes
import os
import sys

NOBODY = 65534

_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_SECUREBITS = 28
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_SECBIT_NO_SETUID_FIXUP = 4


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def wrap(argv: tuple[str, ...]) -> tuple[str, ...]:
    """argv as it must be started by this user: unchanged, or through this module when the user is root."""
    if os.geteuid() != 0:
        return argv
    return (sys.executable, "-m", "fleetform.host.unprivileged", *argv)


def become_nobody() -> None:
    """Give up root for good, keeping only the right to reach files. OSError when the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    # Otherwise access(2), by which PostgreSQL looks at its own files, leaves capabilities out of account.
    _check(libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0))
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    bit = 1 << _CAP_DAC_OVERRIDE
    header = _CapHeader(_CAPABILITY_VERSION_3, 0)
    data = (_CapData * 2)(_CapData(bit, bit, bit), _CapData(0, 0, 0))
    _check(libc.capset(ctypes.byref(header), ctypes.byref(data)))
    _check(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0))
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    become_nobody()
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606  # the caller's argument list, no shell
