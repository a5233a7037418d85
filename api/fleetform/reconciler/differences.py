"""What a plan changes of what is recorded of its endpoint."""

import msgspec

from fleetform.domain.conditions import same_but_time
from fleetform.domain.endpoint import EndpointStatus
from fleetform.domain.replica import Replica
from fleetform.planner.model import (
    Book,
    Bury,
    Drop,
    Evict,
    Forget,
    Move,
    Plan,
    PublishRoute,
    Release,
    RemoveRoute,
    Reserve,
    Start,
    Stop,
)
from fleetform.store.fleet import EndpointFacts
from fleetform.store.recording import Changes, NewReplica
from fleetform.store.starts import Started


def changes_of(facts: EndpointFacts, made: Plan) -> Changes | None:
    """What a plan writes down; None when nothing differs from what is recorded."""
    reserved, moved, released, dropped, booked = [], [], [], [], None
    tombstone = False
    for action in made.actions:
        match action:
            case Reserve():
                reserved.append(NewReplica(replica=action.replica, reservation=action.reservation, instance_type=action.instance_type))
            case Move():
                moved.append(action.replica)
            case Release():
                released.append(action.replica_id)
            case Drop():
                dropped.append(action.replica_id)
            case Book():
                booked = action.replicas
            case Bury():
                tombstone = True
            case Start() | Stop() | Forget() | Evict() | PublishRoute() | RemoveRoute():
                pass  # done, not written
    status = None if _same_status(facts.status, made.status) else made.status
    rollout = None if made.rollout == facts.rollout else made.rollout
    scaling = None if made.scaling == facts.scaling else made.scaling
    rows_differ = bool(reserved or moved or released or dropped or tombstone) or booked is not None
    if not rows_differ and status is None and rollout is None and scaling is None:
        return None
    return Changes(
        reserved=tuple(reserved),
        moved=tuple(moved),
        released=tuple(released),
        dropped=tuple(dropped),
        status=status,
        rollout=rollout,
        scaling=scaling,
        booked=booked,
        holds=made.holds,
        events=made.events,
        tombstone=tombstone,
        records=made.records,
        started=_started(facts, moved),
    )


def _started(facts: EndpointFacts, moved: list[Replica]) -> tuple[Started, ...]:
    """What the starts took of those that become ready with this write."""
    before = {item.replica.replica_id: item for item in facts.replicas}
    found = []
    for replica in moved:
        item, version = before.get(replica.replica_id), facts.desired.versions.get(replica.model_version)
        if (
            replica.ready_at is None
            or _was_woken(replica)
            or item is None
            or item.replica.ready_at is not None
            or not item.holds
            or version is None
        ):
            continue
        seconds = (replica.ready_at - replica.created_at).total_seconds()
        found.append(
            Started(
                version_uid=version.uid, model_version=replica.model_version, instance_type=item.instance_type, seconds=max(0.0, seconds)
            )
        )
    return tuple(found)


def _was_woken(replica: Replica) -> bool:
    """True when a sleeping engine was woken for it, or should have been: that tells nothing of what a start takes."""
    return any(phase.name in ("wake", "restore") for phase in replica.phases)


def _same_status(a: EndpointStatus, b: EndpointStatus) -> bool:
    """True when nothing differs but times and the revision."""
    plain = msgspec.structs.replace(b, conditions=a.conditions, revision=a.revision)
    return plain == a and same_but_time(a.conditions, b.conditions)
