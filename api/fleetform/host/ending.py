"""The steps of an end: the proxy lets go, the whole group is gone, device memory is back, nothing is left lying."""

import asyncio
import shutil

from fleetform.domain.protocol import HostReplicaState
from fleetform.host import processes
from fleetform.host.layout import Layout
from fleetform.host.ledger import Ledger
from fleetform.host.parts import Proxy
from fleetform.host.processes import Group, Identity
from fleetform.host.record import ReplicaRecord, utc_now

DRAIN_POLL_S = 0.25
MEMORY_BACK_WAIT_S = 30.0
MEMORY_POLL_S = 1.0


async def drained(proxy: Proxy, record: ReplicaRecord) -> None:
    """Return once the proxy has nothing under way to the replica, seen twice, or at record.drain_until."""
    assert record.drain_until is not None
    clock = asyncio.get_running_loop().time
    # A clock of the day that is set meanwhile neither cuts what is under way nor holds its end up.
    deadline = clock() + (record.drain_until - utc_now()).total_seconds()
    quiet = 0
    while quiet < 2 and clock() < deadline:
        quiet = 0 if await busy(proxy, record) else quiet + 1
        await asyncio.sleep(DRAIN_POLL_S)


async def memory_back(ledger: Ledger, devices: tuple[str, ...]) -> str | None:
    """Return once the devices' memory is back; after MEMORY_BACK_WAIT_S a sentence about who holds it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + MEMORY_BACK_WAIT_S
    while (busy := await ledger.busy(devices)) is not None:
        if loop.time() >= deadline:
            return busy
        await asyncio.sleep(MEMORY_POLL_S)
    return None


def left_in_doubt(layout: Layout, engine_id: str, identity: Identity) -> str | None:
    """A sentence about processes that live in the engine's session and may be a stranger's; they are shown, never ended."""
    group: Group = processes.group(identity, layout.work(engine_id))
    if not group.doubtful:
        return None
    pids = ", ".join(str(member.pid) for member in group.doubtful)
    return f"nothing proves that the processes {pids} in this replica's session are its own; {HostReplicaState.QUARANTINED} until they end"


def clean(layout: Layout, engine_id: str) -> None:
    """Remove what the engine had on this machine, but for its record and its log."""
    for file in (layout.socket(engine_id), layout.lock_of(engine_id)):
        file.unlink(missing_ok=True)
    for directory in (layout.scratch(engine_id), layout.work(engine_id)):
        shutil.rmtree(directory, ignore_errors=True)


async def busy(proxy: Proxy, record: ReplicaRecord) -> bool:
    """True while the proxy has something under way to the replica, as far as there is a proxy."""
    try:
        found = await proxy.in_flight(record.route_key, [record.replica_id])
    except OSError:
        # One that lives and does not say counts as busy: better to wait than to cut. Asked first, since after a start of this worker a
        # proxy that lives is not connected to it yet.
        return proxy.alive()
    return found.get(record.replica_id, 0) > 0
