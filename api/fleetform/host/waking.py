"""A replica takes an engine that sleeps in place of starting one, and leaves its own asleep in place of ending it.

Its record names the process of what it has claimed before the pool gives that up, and the pool has what fell asleep before the replica
exits: at no line is an engine nobody's.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from fleetform.domain.protocol import HostReplicaState
from fleetform.host import ending, oom
from fleetform.host.exits import ended
from fleetform.host.failing import Failed
from fleetform.host.pool import asking, sleeper
from fleetform.host.pool.asking import Refused
from fleetform.host.probe import NotServing
from fleetform.redaction import redact
from fleetform.steps import Step, step

if TYPE_CHECKING:
    from fleetform.host.replica import Replica


def word(replica: "Replica") -> str:
    """The fingerprint of its engine, where one of the same may be kept here, in memory or on disk; else nothing."""
    pool, snapshots = replica.host.pool, replica.host.snapshots
    kept = snapshots.is_on or (pool.is_on and replica.record.devices)
    return sleeper.fingerprint(replica.record.start, replica.adapter) if kept else ""


async def claim(replica: "Replica") -> None:
    """Take an engine that sleeps and is just what is to be started, if there is one; from then on the record names its process."""
    found = replica.host.pool.claim(word(replica))
    if found is None:
        return
    step(Step.WAKE_CLAIMED)
    begun: dict[str, Any] = {"fingerprint": word(replica), "freezes": found.freezes, "oom_kills": oom.kills()}
    mine: dict[str, Any] = {"woken_id": found.engine_id, "woken_nonce": found.nonce, "process": found.process, "address": found.address}
    await replica.enter("wake", state=HostReplicaState.STARTING, **begun, **mine)


async def wake(replica: "Replica") -> None:
    """Wake the claimed engine and have it prove itself; one that does not is ended, and has no process any more: the start is a cold one.

    Failed when somebody else holds the device: then it sleeps on.
    """
    identity, address, pool = replica.record.identity, replica.record.address, replica.host.pool
    assert identity is not None
    assert address is not None
    if pool.holds(replica.record.engine_id):
        await replica.free_devices()
        await pool.hand_over(replica.record.engine_id)
    end = asyncio.ensure_future(ended(identity, replica.host.layout.exits))
    try:
        step(Step.WAKE_BEFORE)
        await asking.wake_up(address)
        step(Step.WOKEN)
        await replica.prove(identity, end)
    except (Failed, NotServing, Refused) as failed:
        replica.log.warning("engine_not_woken", engine=replica.record.engine_id, reason=str(failed))
        await give_up(replica, f"a sleeping engine was not woken, and this one is new: {failed}")
    else:
        await replica.serves("wake")
    finally:
        end.cancel()


async def fall_asleep(replica: "Replica") -> None:
    """Give the engine to the pool, where that was asked for; what is not taken there is ended as always."""
    if not replica.record.keep_warm or replica.host.snapshots.holds(replica.record.engine_id):
        return
    try:
        await replica.host.pool.put_to_sleep(replica.record)
    except Refused as refused:
        replica.log.info("engine_not_kept", reason=str(refused))


async def give_up(replica: "Replica", why: str) -> None:
    """End what was woken or brought back, with all that it had; the replica has no process any more, and says why."""
    if replica.record.identity is not None:
        await replica.end_group(replica.record.identity, at_once=True)
    await replica.host.snapshots.remove(replica.record.engine_id, put_back=True)
    await asyncio.to_thread(ending.clean, replica.host.layout, replica.record.engine_id)
    await ending.memory_back(replica.host.ledger, replica.record.devices)
    replica.exit = None
    none: dict[str, Any] = {"woken_id": "", "woken_nonce": "", "process": None, "address": None, "on_disk": False, "expects": ""}
    await replica.update(state=HostReplicaState.FETCHING, message=redact(why), **none)
