"""A replica takes an engine from disk in place of starting one, and leaves its own there in place of ending it.

Its record names what is taken before that is given up here. While the engine is brought back, the record names the process that does
it: should the worker die meanwhile, whatever has become of it is found (snapshots/thawing.py), and ended.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from fleetform.domain.protocol import HostReplicaState
from fleetform.host import ending, oom, waking
from fleetform.host.exits import ended
from fleetform.host.failing import Failed
from fleetform.host.pool import asking
from fleetform.host.pool.asking import Refused
from fleetform.host.probe import NotServing
from fleetform.host.processes import Identity
from fleetform.host.record import domain_identity
from fleetform.host.snapshots import thawing
from fleetform.steps import Step, step

if TYPE_CHECKING:
    from fleetform.host.replica import Replica


async def claim(replica: "Replica") -> None:
    """Take an engine that lies on disk and is just what is to be started, if there is one; from then on the record names it."""
    word = waking.word(replica)
    found = await replica.host.snapshots.claim(word)
    if found is None:
        return
    step(Step.THAW_CLAIMED)
    begun: dict[str, Any] = {"fingerprint": word, "freezes": True, "oom_kills": oom.kills(), "on_disk": True, "expects": found.answer}
    mine: dict[str, Any] = {"woken_id": found.engine_id, "woken_nonce": found.nonce, "address": found.address}
    await replica.enter("restore", state=HostReplicaState.STARTING, **begun, **mine)


async def restore(replica: "Replica") -> None:
    """Bring the claimed engine back and have it prove itself; one that does not is ended, and the start is a cold one.

    Failed when somebody else holds the device: then it lies on.
    """
    try:
        leader = await _brought_back(replica)
        await replica.update(process=domain_identity(leader), on_disk=False)
        step(Step.THAW_RECORDED)
    except Refused as refused:
        await _give_up(replica, str(refused))
    else:
        await prove(replica)


async def prove(replica: "Replica") -> None:
    """Have an engine that is back from disk prove itself, as `restore` says. Done again by a worker whose forerunner died at it."""
    identity, address = replica.record.identity, replica.record.address
    assert identity is not None
    assert address is not None
    await replica.host.snapshots.remove(replica.record.engine_id)
    end = asyncio.ensure_future(ended(identity, replica.host.layout.exits))
    try:
        if replica.record.devices:
            await asking.wake_up(address)
        await replica.prove(identity, end)
    except (Failed, NotServing, Refused) as failed:
        await _give_up(replica, str(failed))
    else:
        await replica.serves("restore")
    finally:
        end.cancel()


async def put_on_disk(replica: "Replica") -> None:
    """Leave the engine on disk, where that was asked for and it does not sleep; what does not lie there is ended as always."""
    if not replica.record.keep_warm or replica.host.pool.holds(replica.record.engine_id):
        return
    try:
        if await ending.busy(replica.host.proxy, replica.record):
            raise Refused("requests are under way to it")
        await replica.host.snapshots.put(replica.record)
    except Refused as refused:
        replica.log.info("engine_not_on_disk", reason=str(refused))


async def _brought_back(replica: "Replica") -> Identity:
    """The leader of the engine. Refused, also where a worker died at this."""
    engine_id, snapshots = replica.record.engine_id, replica.host.snapshots
    if not snapshots.holds(engine_id):
        raise Refused("the worker died while it was brought back")
    await replica.free_devices()
    criu, frozen = await snapshots.take(engine_id)
    step(Step.THAW_BEFORE)
    return await thawing.thaw(replica.host.layout, criu, frozen, replica.record.start.start_timeout_s, replica.record_process)


async def _give_up(replica: "Replica", why: str) -> None:
    replica.log.warning("engine_not_restored", engine=replica.record.engine_id, reason=why)
    await waking.give_up(replica, f"an engine on disk was not restored, and this one is new: {why}")
