"""How a process ended: waited for by pidfd, told by the kernel when it is our child, else by the supervisor's notes."""

import asyncio
import os
from pathlib import Path

from fleetform.domain.base import Record
from fleetform.host import processes, records
from fleetform.host.processes import Identity

NOTE_WAIT_S = 3.0
NOTE_POLL_S = 0.05


class Exit(Record, frozen=True, kw_only=True):
    """code: the exit status, or 128 + the signal; None when nobody saw it. signal: the number, 0 for an orderly end."""

    code: int | None = None
    signal: int = 0

    def __str__(self) -> str:
        if self.code is None:
            return "ended, and nobody saw how"
        return f"was ended by signal {self.signal}" if self.signal else f"ended with exit status {self.code}"


async def ended(identity: Identity, notes: Path) -> Exit:
    """Wait until that very process has ended, and say how. notes: where the supervisor writes the exits of its children and of orphans."""
    seen = await gone(identity)
    return seen or await _noted(notes / f"{identity.pid}-{identity.start_ticks}.json", identity)


async def gone(identity: Identity) -> Exit | None:
    """Wait until that very process has ended; its exit when it was our own child, which is reaped by this."""
    descriptor = processes.open_pidfd(identity)
    if descriptor is None:
        return None
    try:
        await _readable(descriptor)
        return _reaped(descriptor)
    finally:
        os.close(descriptor)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


def _reaped(descriptor: int) -> Exit | None:
    """The exit of our own child, reaped; None when it is not our child."""
    try:
        found = os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    if found is None:
        return None
    if found.si_code == os.CLD_EXITED:
        return Exit(code=found.si_status)
    return Exit(code=128 + found.si_status, signal=found.si_status)


async def _noted(note: Path, identity: Identity) -> Exit:
    """What the supervisor wrote, which may come a moment after the end; Exit() when it wrote nothing."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + NOTE_WAIT_S
    while True:
        value = records.read_json(note)
        if value is not None and value.get("boot_id") == identity.boot_id:
            kind, _, number = str(value.get("status", "")).partition(" ")
            if number.isdigit():
                return Exit(code=int(number)) if kind == "exit" else Exit(code=128 + int(number), signal=int(number))
        if loop.time() >= deadline:
            return Exit()
        await asyncio.sleep(NOTE_POLL_S)
