"""Start a process so that it never runs without a record of it on disk. Standard library only."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fleetform.host import gate
from fleetform.host.processes import Identity, identify


def launch(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path, record: Callable[[Identity], None], *, mode: str = gate.FREE
) -> Identity:
    """Start argv as a session of its own in cwd, appending to log, once record(identity) has returned.

    mode: CONFINED means no core dumps, no new privileges, umask 077; SNAPSHOT is that without io_uring. If record raises, nothing is
    started and the error passes through; if we die meanwhile, nothing is started either. The caller collects the exit status.
    """
    read_end, write_end = os.pipe()
    try:
        child = _hold(argv, env, cwd, log, read_end, mode)
    except BaseException:
        os.close(write_end)
        raise
    finally:
        os.close(read_end)
    try:
        identity = identify(child.pid)
        if identity is None:
            raise ProcessLookupError(f"the process {child.pid} was gone before it was recorded")
        record(identity)
        os.write(write_end, gate.OPEN)
    except BaseException:
        os.close(write_end)
        child.wait()
        raise
    os.close(write_end)
    # The caller collects the exit; Popen must not reap the child behind its back when the next one is started.
    child.returncode = 0
    return identity


def _hold(argv: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path, read_end: int, mode: str) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-I", "-S", gate.__file__, str(read_end), mode, *argv]
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            words,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            pass_fds=(read_end,),
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
