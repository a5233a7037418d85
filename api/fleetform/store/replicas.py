"""Replicas as the control API shows them. The reconciler writes the rows."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from fleetform.domain.replica import SLOW, FailureReason, Replica, ReplicaPhase, ReplicaView
from fleetform.domain.rollout import RolloutState
from fleetform.errors import NotFound
from fleetform.store import database, specs
from fleetform.store.tables import EndpointRow, ReplicaRow
from fleetform.store.writing import Page, cursor_of, key_of, size


async def page(endpoint_uid: UUID, limit: int, cursor: str | None, now: datetime) -> Page[ReplicaView]:
    """An endpoint's replicas by id."""
    (last,) = key_of(cursor, 1)
    failures = await _failures(endpoint_uid)
    count = size(limit)
    query = ReplicaRow.select().where(ReplicaRow.endpoint_uid == endpoint_uid).where(ReplicaRow.replica_id > last)
    found = await query.order_by(ReplicaRow.replica_id).limit(count + 1)
    items = tuple(view(_replica(row), now, failures) for row in found[:count])
    return Page(items=items, next_cursor=cursor_of(items[-1].id) if len(found) > count else None)


async def host_of(endpoint_uid: UUID, replica_id: str) -> str | None:
    """The host of an endpoint's replica; None for one that is gone but that the endpoint's events still name. NotFound otherwise."""
    found = await ReplicaRow.select().where(ReplicaRow.endpoint_uid == endpoint_uid).where(ReplicaRow.replica_id == replica_id)
    if found:
        members = _replica(found[0]).members
        return members[0].host if members else None
    named = await database.rows("SELECT seq FROM event WHERE subject = {} AND replica_id = {} LIMIT 1", endpoint_uid, replica_id)
    if not named:
        raise NotFound(f"no replica {replica_id!r} of this endpoint")
    return None


def view(replica: Replica, now: datetime, failures: Mapping[str, int]) -> ReplicaView:
    """replica as people see it. failures: track → failed starts in a row."""
    reason, message = _why(replica)
    return ReplicaView(
        id=replica.replica_id,
        variant=replica.track.rpartition(".")[0],
        model_version=replica.model_version,
        phase=replica.phase,
        host=replica.members[0].host if replica.members else None,
        devices=tuple(device for member in replica.members for device in member.devices),
        age_s=max(0, int((now - replica.created_at).total_seconds())),
        reason=reason,
        message=message,
        log_tail=replica.log_tail,
        phases=replica.phases,
        restarts=failures.get(replica.track, 0),
    )


def _why(replica: Replica) -> tuple[str | None, str]:
    """What is the matter with the replica: why it failed, or why it is not counted on though it runs."""
    if replica.failure is None and replica.hung_since is not None:
        return FailureReason.HUNG, "it makes no progress and gets no new requests; it is replaced unless it comes back"
    if replica.failure is None and replica.lost_since is not None:
        return FailureReason.HOST_LOST, "its host does not answer; another replica is to take its place"
    if replica.phase is ReplicaPhase.READY and replica.slow:
        return SLOW, replica.slow
    return replica.failure, replica.message


async def _failures(endpoint_uid: UUID) -> dict[str, int]:
    found = await EndpointRow.select(EndpointRow.rollout).where(EndpointRow.uid == endpoint_uid)
    if not found or not found[0]["rollout"]:
        return {}
    return {track: failures.count for track, failures in database.decode(RolloutState, found[0]["rollout"]).failures.items()}


def _replica(row: specs.Row) -> Replica:
    return database.decode(Replica, row["body"])
