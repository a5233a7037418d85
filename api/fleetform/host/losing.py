"""How an engine that serves is lost: it ends, a part of it does, it is given up, or the socket is gone by which alone it is reached."""

import asyncio
import signal
from pathlib import Path
from typing import Any, NamedTuple

from fleetform.domain.replica import FailureReason, Unix
from fleetform.host import oom, organs
from fleetform.host.exits import Exit
from fleetform.host.failing import Failed
from fleetform.host.processes import Identity
from fleetform.host.recorded import Recorded

SOCKET_POLL_S = 1.0
SOCKET_GONE_S = 5.0
LEADER_WAIT_S = 0.5
IN_ORDER = (0, 128 + signal.SIGTERM, None)
"""Exit codes of a part that was told to end, or may have been."""


class Loss(NamedTuple):
    """Why it serves no longer. exit: of its leader, when that has ended. is_broken: a part of it has, and it would let a grace pass."""

    failed: Failed
    exit: Exit | None = None
    is_broken: bool = False


async def lost(replica: Recorded, identity: Identity, end: "asyncio.Future[Exit]", hung: "asyncio.Future[str]") -> Loss:
    """Wait until the engine of replica is lost. end: of its leader. hung: why it is given up."""
    address = replica.record.address
    part = asyncio.ensure_future(organs.first_to_end(identity, replica.host.layout.work(replica.record.engine_id)))
    try:
        tasks: set[asyncio.Future[Any]] = {end, part, hung}
        while not isinstance(address, Unix) or await asyncio.to_thread(Path(address.path).exists):
            done, _ = await asyncio.wait(tasks, timeout=SOCKET_POLL_S, return_when=asyncio.FIRST_COMPLETED)
            if end in done:
                break
            if part in done:
                return await _broke(replica, *part.result(), end)
            if hung in done:
                return Loss(Failed(FailureReason.HUNG, hung.result()))
    finally:
        part.cancel()
    # An engine that ends in order removes its socket first.
    if end in (await asyncio.wait({end}, timeout=SOCKET_GONE_S))[0]:
        return Loss(crashed(replica, "", end.result()), end.result())
    return Loss(Failed(FailureReason.CRASHED, "the engine's socket was removed"))


async def _broke(replica: Recorded, part: str, seen: Exit, end: "asyncio.Future[Exit]") -> Loss:
    """A part of it has ended. One that was told to was told by its leader, which ends too, and whose own end says more."""
    if seen.code in IN_ORDER and end in (await asyncio.wait({end}, timeout=LEADER_WAIT_S))[0]:
        return Loss(crashed(replica, "", end.result()), end.result(), is_broken=True)
    return Loss(crashed(replica, part, seen), is_broken=True)


def crashed(replica: Recorded, part: str, seen: Exit) -> Failed:
    """What follows when the engine, or this part of it, has ended so."""
    who = f"the engine's {part}" if part else "the engine"
    if oom.is_evidence(replica.record.oom_kills, oom.kills(), seen.signal, seen.code, replica.log_tail()):
        return Failed(FailureReason.OOM_KILLED, f"{who} {seen}; the kernel ran out of memory")
    return Failed(FailureReason.CRASHED, f"{who} {seen}")
