"""Become a program that must outlive its parent although it asks the kernel to be ended with it. Standard library only.

`undying.py ENVOY ARGV…`: Envoy with hot restart asks for SIGTERM at its parent's death (PR_SET_PDEATHSIG), and no option takes that
back. A filter on system calls lets that one question succeed without effect; it holds through the exec. Where the kernel takes no such
filter, Envoy is started without hot restart, which asks for nothing; its exchange then cuts what it has in flight.
"""

import ctypes
import os
import struct
import sys

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
PRCTL_NUMBERS = {"x86_64": (0xC000003E, 157), "aarch64": (0xC00000B7, 167)}
"""Machine → how the kernel names its calls, and the number of prctl among them."""
HOT_RESTART = ("--restart-epoch", "--base-id", "--drain-time-s", "--drain-strategy", "--parent-shutdown-time-s")
"""Options of Envoy with one value each, which mean nothing without hot restart."""

_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_ALLOW, _SUCCEED = 0x7FFF0000, 0x00050000


def main() -> None:
    """Become the rest of the command line."""
    argv = sys.argv[1:]
    try:
        refuse_death_signal()
    except (OSError, KeyError) as error:
        os.write(2, f"no filter on system calls ({error}): Envoy runs without hot restart\n".encode())
        argv = without_hot_restart(argv)
    os.execv(argv[0], argv)  # noqa: S606  # argv comes from our own record


def refuse_death_signal() -> None:
    """From now on asking for a signal at the parent's death does nothing, here and in what we become. OSError, KeyError: not possible."""
    architecture, prctl = PRCTL_NUMBERS[os.uname().machine]
    program = b"".join(
        [
            _statement(_LOAD, _ARCHITECTURE_AT),
            _jump(architecture, otherwise=5),
            _statement(_LOAD, _NUMBER_AT),
            _jump(prctl, otherwise=3),
            _statement(_LOAD, _FIRST_ARGUMENT_AT),
            _jump(PR_SET_PDEATHSIG, otherwise=1),
            _statement(_RETURN, _SUCCEED),
            _statement(_RETURN, _ALLOW),
        ]
    )
    instructions = ctypes.create_string_buffer(program)
    filter_ = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions)))
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_void_p(ctypes.addressof(filter_)))


def without_hot_restart(argv: list[str]) -> list[str]:
    """argv for an Envoy that is alone."""
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        if word in HOT_RESTART:
            next(words, None)
        else:
            kept.append(word)
    return [*kept, "--disable-hot-restart"]


def _prctl(option: int, *values: int | ctypes.c_void_p) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = [*values, *[0] * (4 - len(values))]
    words = (value if isinstance(value, ctypes.c_void_p) else ctypes.c_ulong(value) for value in arguments)
    if libc.prctl(option, *words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _statement(code: int, value: int) -> bytes:
    return struct.pack("HBBI", code, 0, 0, value)


def _jump(value: int, otherwise: int) -> bytes:
    """Go on when what was loaded is value; else skip so many instructions."""
    return struct.pack("HBBI", _JUMP_EQUAL, 0, otherwise, value)


if __name__ == "__main__":
    main()
