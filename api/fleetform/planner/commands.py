"""What is sent to hosts and written to rows, from where each replica stands."""

from collections.abc import Iterator

from fleetform.domain.protocol import ForgetReplica, HostReplicaState, StartReplica, StopReplica
from fleetform.domain.replica import Replica, ReplicaPhase
from fleetform.planner import report, warmth
from fleetform.planner.draft import Draft
from fleetform.planner.lifecycle import RUNNING, is_shut
from fleetform.planner.model import Action, Book, Bury, Drop, Forget, Move, PublishRoute, Release, RemoveRoute, SeenReplica, Start, Stop

P = ReplicaPhase
DRAIN_FLOOR_S = 300
"""A stream may run longer than the limit of its first byte, so a drain waits at least so long."""


def commanded(draft: Draft) -> tuple[Draft, tuple[Action, ...]]:
    """The draft and all that is done for it, writes first: what is decided is recorded before it is done."""
    actions: list[Action] = [*draft.reserves]
    for replica in draft.replicas:
        actions += _writes(draft, draft.item(replica.replica_id), replica)
    actions += _booking(draft)
    actions += _routing(draft)
    for replica in draft.replicas:
        actions += _sends(draft, draft.item(replica.replica_id), replica)
    actions += warmth.evictions(draft)
    return draft, tuple(actions)


def _writes(draft: Draft, item: SeenReplica, replica: Replica) -> Iterator[Action]:
    if _is_over(draft, item, replica):
        yield Drop(replica_id=replica.replica_id)
        return
    if replica != item.replica:
        yield Move(replica=replica, before=item.replica.phase)
    if replica.phase is P.FAILED and item.holds and _has_ended(item):
        yield Release(replica_id=replica.replica_id)


def _is_over(draft: Draft, item: SeenReplica, replica: Replica) -> bool:
    """True when nothing is left of the replica, and nobody needs to see its row any more.

    A failed replica is shown until another one of its track is tried or its track is not wanted.
    """
    if replica.phase is P.STOPPED:
        return True
    if replica.phase is not P.FAILED or not item.reachable or not _has_ended(item):
        return False
    wanted = draft.state is not None and replica.track in draft.state.tracks and not draft.desired.deleting
    others = (*draft.replicas, *(reserve.replica for reserve in draft.reserves))
    follows = any(other.track == replica.track and other.created_at > replica.created_at for other in others)
    failing = draft.state is not None and replica.track in draft.state.failures
    return not wanted or follows or not failing


def _is_nothing_left(draft: Draft) -> bool:
    """True when no replica of the endpoint needs its row any more, and no engine of it sleeps anywhere."""
    return not draft.observed.sleepers and all(_is_over(draft, draft.item(r.replica_id), r) for r in draft.replicas)


def _has_ended(item: SeenReplica) -> bool:
    return item.reachable and (item.seen is None or item.seen.state is HostReplicaState.EXITED)


def _booking(draft: Draft) -> Iterator[Action]:
    """What is booked goes down to the floor, or to what is held above it; only PUT raises it."""
    if draft.desired.deleting:
        needed = 0
    elif draft.state is None or draft.state.generation < draft.desired.generation:
        return
    else:
        least = draft.desired.effective.min_replicas
        floor = max(least, len(draft.state.new)) if least else 0
        needed = max(floor, draft.observed.held + len(draft.reserves))
    if draft.observed.booked > needed:
        yield Book(replicas=needed)


def _routing(draft: Draft) -> Iterator[Action]:
    published = draft.observed.published
    if draft.desired.deleting and all(replica.phase in (P.STOPPED, P.FAILED) for replica in draft.replicas):
        if published is not None and published.route is not None:
            yield RemoveRoute(key=published.route.key)
        elif published is None and _is_nothing_left(draft):
            yield Bury()
        return
    route = report.route_of(draft)
    if published is None or published.route != route:
        yield PublishRoute(route=route)


def _sends(draft: Draft, item: SeenReplica, replica: Replica) -> Iterator[Action]:
    if not item.reachable:
        return
    host = replica.members[0].host
    state = None if item.seen is None else item.seen.state
    if replica.phase is P.PLACING and state is None and item.holds:
        start = _start(draft, replica)
        if start is not None:
            yield Start(host=host, command_id=f"start-{replica.replica_id}", command=start)
    elif replica.phase in (P.DRAINING, P.FAILED) and _is_to_stop(draft, item, replica) and _may_stop(draft, replica):
        may_have_some = replica.proven or replica.ready_at is not None
        drain_s = max(DRAIN_FLOOR_S, draft.desired.effective.request_timeout_s) if may_have_some else 0
        keeps = warmth.is_kept(draft, replica)
        command = StopReplica(replica_id=replica.replica_id, drain_timeout_s=drain_s, keep_warm=keeps)
        yield Stop(host=host, command_id=f"stop-{replica.replica_id}", command=command)
    elif state is HostReplicaState.EXITED and _is_over(draft, item, replica):
        command_id = f"forget-{replica.replica_id}"
        yield Forget(host=host, command_id=command_id, command=ForgetReplica(replica_id=replica.replica_id))


def _is_to_stop(draft: Draft, item: SeenReplica, replica: Replica) -> bool:
    """True for an engine that runs, or may be about to, and that its host does not end by itself because it has failed.

    One that the host has set aside is stopped only when its endpoint is deleted.
    """
    if item.seen is None:
        return replica.phase is P.DRAINING
    if item.seen.state is HostReplicaState.QUARANTINED:
        return draft.desired.deleting
    return item.seen.state in RUNNING and item.seen.failure is None


def _may_stop(draft: Draft, replica: Replica) -> bool:
    """True when no proxy sends anything new to the replica, by the route that is wanted now."""
    published = draft.observed.published
    if replica.address is None:
        return True
    return is_shut(replica.replica_id, published)


def _start(draft: Draft, replica: Replica) -> StartReplica | None:
    """The command, or None when the track is no longer wanted: then the replica is on its way out."""
    if draft.state is None or replica.track not in draft.state.tracks:
        return None
    track = draft.state.tracks[replica.track]
    return StartReplica(
        replica_id=replica.replica_id,
        project=draft.desired.project,
        endpoint=draft.desired.name,
        generation=replica.generation,
        nonce=replica.nonce,
        served_name=draft.desired.name,
        track=track,
        prefixes=draft.desired.prefixes,
        members=replica.members,
        start_timeout_s=draft.start_limit_s(replica.track),
        request_timeout_s=draft.desired.effective.request_timeout_s,
        endpoint_uid=draft.desired.uid,
    )
