"""The first moment of a forked engine. What `host/gate.py` does for a process that is started plainly, without an exec at its end."""

import mmap
import os
import random
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from fleetform.host import gate, processes
from fleetform.host.zygote import message
from fleetform.host.zygote.message import Ask

_kept: list[mmap.mmap] = []


def become(ask: Ask, connection: socket.socket) -> None:
    """Lead a session of our own, say so, and return as the engine once the gate opens; end when it closes unopened."""
    try:
        _leave_the_zygote(ask)
    except OSError as error:
        message.answer(connection, refused=f"the forked process cannot go on: {error}")
        os._exit(gate.NOT_OPENED)
    message.answer(connection, pid=os.getpid())
    connection.close()
    if os.read(ask.gate, 1) != gate.OPEN:
        os._exit(gate.NOT_OPENED)
    os.close(ask.gate)
    gate.confine()
    if ask.mode == gate.SNAPSHOT:
        gate.forbid_io_uring()
    _put_on(ask)


def _leave_the_zygote(ask: Ask) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.chdir(ask.cwd)
    _map(Path(ask.cwd) / processes.MAP)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in ((nothing, 0), (ask.log, 1), (ask.log, 2)):
        os.dup2(descriptor, number)
    os.close(nothing)
    os.close(ask.log)


def _map(path: Path) -> None:
    """Map a page of path for good: what /proc shows of our environment is the zygote's, and by this we and our forks are known."""
    path.write_bytes(bytes(mmap.PAGESIZE))
    with path.open("rb") as file:
        _kept.append(mmap.mmap(file.fileno(), mmap.PAGESIZE, prot=mmap.PROT_READ))


def _put_on(ask: Ask) -> None:
    """Arguments and environment of the engine, and what Python has derived from those of the zygote."""
    os.environ.clear()
    os.environ.update(ask.env)
    sys.argv[:] = ask.argv
    time.tzset()
    tempfile.tempdir = None  # found out once, from TMPDIR
    random.seed()  # else every engine would draw the same numbers
