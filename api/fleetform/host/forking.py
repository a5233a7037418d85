"""A replica's engine is forked from this machine's zygote where that can be done, and started plainly where not.

An engine for a device that was forked and does not come to serve may have failed of the fork, as long as none has served: it is ended,
and the same replica starts once more, plainly. When that one serves, the fork was to blame, and nothing is forked for devices until
there is another zygote.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Never

from fleetform.domain.protocol import HostReplicaState
from fleetform.domain.replica import FailureReason
from fleetform.host import ending, fetching, gate, logs, oom, starting, waking
from fleetform.host.children import recorded_identity
from fleetform.host.exits import ended
from fleetform.host.failing import Failed
from fleetform.host.probe import NotServing
from fleetform.host.processes import Identity
from fleetform.host.record import domain_identity, utc_now
from fleetform.host.zygote import client as zygote
from fleetform.host.zygote.client import NotForked
from fleetform.redaction import redact
from fleetform.steps import Step, step

if TYPE_CHECKING:
    from pathlib import Path

    from fleetform.host.replica import Replica

OF_THE_FORK = "Cannot re-initialize CUDA in forked subprocess"
"""What torch says when a process has met CUDA before it was forked."""
LOG_LINES = 500
PLAINLY = "started plainly: "


async def start(replica: "Replica", identity: Identity | None) -> Identity:
    """Return once an engine of replica serves. identity: the one that runs already. Failed or NotServing when it does not come to that."""
    try:
        while True:
            if identity is None:
                identity = await _launch(replica, await fetching.fetch(replica))
            else:
                _resume(replica)
            end = asyncio.ensure_future(ended(identity, replica.host.layout.exits))
            try:
                await replica.prove(identity, end)
            except (Failed, NotServing) as failed:
                await _give_up(replica, identity, failed)
                identity = None
            else:
                await _learn(replica)
                await replica.serves("fork", "launch")
                return identity
            finally:
                end.cancel()
    finally:
        replica.host.trust.leave(replica.record.replica_id)


async def _launch(replica: "Replica", model_dir: "Path") -> Identity:
    await replica.free_devices()
    address = starting.choose_address(replica.host.layout, replica.adapter, replica.record.replica_id)
    begun: dict[str, Any] = {"state": HostReplicaState.STARTING, "address": address, "oom_kills": oom.kills()}
    begun |= {"fingerprint": waking.word(replica), "freezes": replica.host.snapshots.is_on}
    plainly = replica.record.not_forked
    if replica.adapter.forks and not plainly:
        await replica.enter("fork", **begun)
        plainly = await _unready(replica)
        if not plainly:
            try:
                return await replica.spawn(starting.fork, model_dir)
            except NotForked as error:
                plainly = str(error)
        replica.host.trust.leave(replica.record.replica_id)
        begun["zygote"] = None
    if plainly:
        replica.log.info("started_plainly", reason=plainly)
        # A worker that died here has said it before.
        before = replica.record.message.partition(PLAINLY)[0].removesuffix("; ")
        begun["message"] = "; ".join(filter(None, (before, f"{PLAINLY}{plainly}")))
    await replica.enter("launch", **begun)
    return await replica.spawn(starting.spawn, model_dir)


async def _unready(replica: "Replica") -> str:
    """Why its engine cannot be forked now, or nothing; for devices, its record then says from which zygote it is."""
    layout = replica.host.layout
    why = await zygote.unready(layout.zygote, layout.zygote_record)
    if why or not replica.record.devices:
        return why
    found = await asyncio.to_thread(recorded_identity, layout.zygote_record)
    if found is None:
        return "no zygote runs"
    parent = domain_identity(found)
    why = replica.host.trust.refusal(parent, replica.record.replica_id)
    if not why:
        await replica.update(zygote=parent)
    return why


def _resume(replica: "Replica") -> None:
    """Another worker has forked it: it may be the one that is tried."""
    if replica.record.zygote is not None and not replica.record.not_forked:
        replica.host.trust.refusal(replica.record.zygote, replica.record.replica_id)


async def _learn(replica: "Replica") -> None:
    """Before it is said to serve: a worker that dies in between does both again."""
    record, trust = replica.record, replica.host.trust
    if record.zygote is None:
        return
    step(Step.FORK_JUDGED_BEFORE)
    if record.not_forked:
        await trust.set_doubt(record.zygote, record.not_forked)
        replica.log.warning("no_more_forks_for_devices", reason=record.not_forked)
    else:
        await trust.set_served(record.zygote)
    step(Step.FORK_JUDGED)


async def _give_up(replica: "Replica", identity: Identity, failed: Failed | NotServing) -> None:
    """End what was forked, so that the replica starts plainly. What is not the fork's doing is raised again, as what takes too long is."""
    record = replica.record
    never_ran = replica.exit is not None and replica.exit.code == gate.NOT_OPENED
    if record.zygote is None or never_ran or failed.reason is FailureReason.OOM_KILLED:
        raise failed
    if record.not_forked:
        if failed.reason is FailureReason.START_TIMEOUT:
            await _lose(replica, f"{record.not_forked}, and the one started in its place was not ready in what was left of the time")
        raise failed
    if replica.host.trust.has_served(record.zygote) and not _says_so(replica):
        raise failed
    why = redact(f"a forked engine did not serve: {failed.message}")
    if failed.reason is FailureReason.START_TIMEOUT or not _has_time(replica):
        await _lose(replica, why)
    replica.log.warning("fork_failed", reason=why)
    step(Step.FORK_END_BEFORE)
    await replica.end_group(identity, at_once=True)
    await asyncio.to_thread(ending.clean, replica.host.layout, record.engine_id)
    await ending.memory_back(replica.host.ledger, record.devices)
    step(Step.FORK_ENDED)
    replica.exit = None
    await replica.update(state=HostReplicaState.FETCHING, not_forked=why, process=None, address=None)


async def _lose(replica: "Replica", why: str) -> Never:
    """Fail, with nothing forked for devices any more: another start does not repeat this one, as it would any that took too long."""
    assert replica.record.zygote is not None
    step(Step.FORK_JUDGED_BEFORE)
    await replica.host.trust.set_doubt(replica.record.zygote, why)
    step(Step.FORK_JUDGED)
    raise Failed(FailureReason.CRASHED, f"{why}; the next start is a plain one")


def _says_so(replica: "Replica") -> bool:
    return any(OF_THE_FORK in line for line in logs.tail(replica.host.layout.log(replica.record.engine_id), LOG_LINES))


def _has_time(replica: "Replica") -> bool:
    """True when the plain start has at least half of the time that both have together."""
    return (utc_now() - replica.started_at("fork")).total_seconds() <= replica.record.start.start_timeout_s / 2
