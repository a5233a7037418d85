"""What the reconciler writes: one transaction per plan, guarded by the lease's epoch and by the generation that was read."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from fleetform.domain.base import Record
from fleetform.domain.conditions import Reason
from fleetform.domain.endpoint import EndpointStatus
from fleetform.domain.events import NewEvent
from fleetform.domain.machine import HostCapacity, Reservation
from fleetform.domain.model import Manifest
from fleetform.domain.replica import Replica
from fleetform.domain.rollout import Rollout, RolloutState
from fleetform.domain.scaling import ScalingDecision
from fleetform.errors import TemporaryError
from fleetform.steps import Step
from fleetform.store import changes, endpoints, lease, models, quotas, rollouts, starts
from fleetform.store.database import decode, encode, rows, transaction
from fleetform.store.fleet import EndpointFacts
from fleetform.store.starts import Started


class Overtaken(TemporaryError):
    """What was read has changed before it was written on, or somebody else took the room: read and plan again."""

    reason = "Overtaken"


class NewReplica(Record, frozen=True, kw_only=True):
    """A replica with what it takes of a host and of the project's quota of instance_type."""

    replica: Replica
    reservation: Reservation
    instance_type: str


class Changes(Record, frozen=True, kw_only=True):
    """What a plan writes down of one endpoint. None of status, rollout, booked and scaling: unchanged.

    holds: uids of the model versions in use; those that the spec does not name are held for the bake.
    tombstone: nothing is left of it but its row and its events. records: rollouts of which something new is to be told.
    started: what the starts took of the replicas that have become ready.
    """

    reserved: tuple[NewReplica, ...] = ()
    moved: tuple[Replica, ...] = ()
    released: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    status: EndpointStatus | None = None
    rollout: RolloutState | None = None
    booked: int | None = None
    holds: tuple[str, ...] = ()
    events: tuple[NewEvent, ...] = ()
    tombstone: bool = False
    scaling: ScalingDecision | None = None
    records: tuple[Rollout, ...] = ()
    started: tuple[Started, ...] = ()


async def record(facts: EndpointFacts, new: Changes, shard: str, epoch: int, now: datetime) -> None:
    """Write new on top of facts, all of it or nothing.

    NotLeader when the shard has another leader. Overtaken when the endpoint has changed since it was read, or when a device, memory,
    CPU or the quota no longer has room.
    """
    desired = facts.desired
    try:
        async with transaction(Step.RECORD_WRITTEN, Step.RECORD_COMMITTED):
            await lease.guard(shard, epoch)
            await _write_endpoint(facts, new, now)
            await _reserve(facts, new.reserved)
            await _write_replicas(new)
            await starts.write(new.started, now)
            await _hold(desired.uid, new.holds)
            await rollouts.write(desired.uid, () if new.tombstone else new.records)
            await _write_events(desired.uid, desired.project, desired.generation, new.events, now)
            if new.status is not None or new.tombstone:
                await changes.status(desired.uid)
    except asyncpg.UniqueViolationError as error:
        raise Overtaken(f"a device for {desired.project}/{desired.name} was taken meanwhile", endpoint=desired.uid) from error


async def _reserve(facts: EndpointFacts, new: Sequence[NewReplica]) -> None:
    """Room in the quota, memory and CPU; the devices are arbitrated by their unique key. Locks the quota, then the hosts by name."""
    if not new:
        return
    project, name = facts.desired.project, facts.desired.name
    for instance_type in sorted({item.instance_type for item in new}):
        limit = await quotas.lock(project, instance_type)
        used = (await quotas.use(project, instance_type, UUID(facts.desired.uid))).used
        wanted = sum(1 for item in new if item.instance_type == instance_type)
        floor = facts.booked - facts.held if instance_type == facts.desired.effective.instance_type else 0
        if wanted > max(0, floor) + max(0, limit - used):
            raise Overtaken(f"the quota of {project} for {instance_type} has no room for {name}", limit=limit, used=used)
    for row in await rows(_LOCK_HOSTS, sorted({item.reservation.host for item in new})):
        host = decode(HostCapacity, row["body"])
        mine = [item.reservation for item in new if item.reservation.host == host.host]
        taken = (await rows(_TAKEN, host.host))[0]
        if (
            taken["cpu_millis"] + sum(r.cpu_millis for r in mine) > host.cpu_millis
            or taken["memory_mib"] + sum(r.memory_mib for r in mine) > host.memory_mib
        ):
            raise Overtaken(f"{host.host} has no room for {project}/{name} any more", host=host.host)


async def _write_endpoint(facts: EndpointFacts, new: Changes, now: datetime) -> None:
    """The endpoint's row, when it still is what was read."""
    desired, status, rollout, scaling = facts.desired, new.status, new.rollout or facts.rollout, new.scaling or facts.scaling
    revision = facts.revision if status is None else facts.revision + 1
    found = await rows(
        _UPDATE,
        encode(msgspec.structs.replace(status or facts.status, revision=revision)),
        revision,
        None if rollout is None or new.tombstone else encode(rollout),
        facts.booked if new.booked is None else new.booked,
        None if scaling is None or new.tombstone else encode(scaling),
        desired.uid,
        desired.generation,
        desired.deleting,
    )
    if not found:
        raise Overtaken(f"{desired.project}/{desired.name} has changed meanwhile", endpoint=desired.uid)
    if new.tombstone:
        await endpoints.bury(UUID(desired.uid), now)


async def _write_replicas(new: Changes) -> None:
    for item in new.reserved:
        replica, reservation = item.replica, item.reservation
        await rows(_INSERT_REPLICA, replica.replica_id, replica.endpoint_uid, replica.phase, replica.changed_at, encode(replica))
        takes = (reservation.host, reservation.cpu_millis, reservation.memory_mib)
        await rows(_INSERT_RESERVATION, replica.replica_id, item.instance_type, *takes, replica.endpoint_uid)
        if reservation.devices:
            await rows(_INSERT_DEVICES, replica.replica_id, reservation.host, list(reservation.devices))
    for replica in new.moved:
        await rows(_UPDATE_REPLICA, replica.phase, replica.changed_at, encode(replica), replica.replica_id)
    gone = [*new.released, *new.dropped]
    if gone:
        await rows("DELETE FROM device_reservation WHERE replica_id = ANY({}::text[])", gone)
        await rows("DELETE FROM reservation WHERE replica_id = ANY({}::text[])", gone)
    if new.dropped:
        await rows("DELETE FROM replica WHERE replica_id = ANY({}::text[])", list(new.dropped))


async def _hold(uid: str, holds: tuple[str, ...]) -> None:
    """Which versions are in use beyond the spec; what the spec names is PUT's to write."""
    await rows(_HOLD, uid, list(holds), uid, list(holds))


async def _write_events(uid: str, project: str, generation: int, events: Sequence[NewEvent], now: datetime) -> None:
    if events:
        columns = ([e.kind for e in events], [e.reason for e in events], [e.message for e in events], [e.replica_id for e in events])
        await rows(_EVENTS, uid, project, now, generation, *columns)


async def record_verified(uid: str, manifest: Manifest, shard: str, epoch: int, now: datetime) -> None:
    """Freeze a model version's manifest, once. NotLeader when the shard has another leader."""
    async with transaction(Step.VERDICT_WRITTEN, Step.VERDICT_COMMITTED):
        await lease.guard(shard, epoch)
        await models.set_verified(uid, manifest, now)


async def record_refused(uid: str, reason: Reason, message: str, shard: str, epoch: int, now: datetime) -> None:
    """Refuse a model version for good, once. NotLeader when the shard has another leader."""
    async with transaction(Step.VERDICT_WRITTEN, Step.VERDICT_COMMITTED):
        await lease.guard(shard, epoch)
        await models.set_refused(uid, reason, message, now)


_LOCK_HOSTS = "SELECT body FROM host WHERE host = ANY({}::text[]) ORDER BY host FOR UPDATE"
_TAKEN = """
SELECT coalesce(sum(cpu_millis), 0)::bigint AS cpu_millis, coalesce(sum(memory_mib), 0)::bigint AS memory_mib
FROM reservation WHERE host = {}
"""
_UPDATE = """
UPDATE endpoint SET status = {}, revision = {}, rollout = {}, booked = {}, scaling = {}
WHERE uid = {} AND generation = {} AND alive AND (deleting_at IS NOT NULL) = {}
RETURNING uid
"""
_INSERT_REPLICA = "INSERT INTO replica (replica_id, endpoint_uid, phase, changed_at, body) VALUES ({}, {}, {}, {}, {})"
_INSERT_RESERVATION = """
INSERT INTO reservation (replica_id, endpoint_uid, project, instance_type, host, cpu_millis, memory_mib)
SELECT {}, e.uid, e.project, {}, {}, {}, {} FROM endpoint e WHERE e.uid = {}
"""
_INSERT_DEVICES = """
INSERT INTO device_reservation (replica_id, host, device) SELECT {}, {}, d FROM unnest({}::text[]) AS d
"""
_UPDATE_REPLICA = "UPDATE replica SET phase = {}, changed_at = {}, body = {} WHERE replica_id = {}"
_HOLD = """
WITH let_go AS (DELETE FROM endpoint_version WHERE endpoint_uid = {} AND held_by <> 'spec' AND NOT version_uid = ANY({}::uuid[]))
INSERT INTO endpoint_version (endpoint_uid, version_uid, held_by) SELECT {}, h, 'bake' FROM unnest({}::uuid[]) AS h
ON CONFLICT (endpoint_uid, version_uid) DO NOTHING
"""
_EVENTS = """
INSERT INTO event (subject, project, at, kind, reason, message, generation, replica_id)
SELECT i.subject, i.project, i.at, e.kind, e.reason, e.message, i.generation, e.replica_id
FROM (SELECT {}::uuid AS subject, {}::text AS project, {}::timestamptz AS at, {}::bigint AS generation) i,
     unnest({}::text[], {}::text[], {}::text[], {}::text[]) AS e (kind, reason, message, replica_id)
"""
