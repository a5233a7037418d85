"""The last steps of a plan: the route as it should be, conditions, events, versions in use, and when to look again."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from fleetform.domain.conditions import Condition, ConditionType, Reason, condition
from fleetform.domain.events import NewEvent
from fleetform.domain.replica import Replica, ReplicaPhase
from fleetform.domain.rollout import Rollout
from fleetform.gateway.snapshot import EndpointRoute
from fleetform.planner import gate, lifecycle, rollout, routes
from fleetform.planner.draft import Draft
from fleetform.planner.lifecycle import START_GRACE_S, has_proven_itself
from fleetform.planner.model import Action, Blocked, BlockReason, Plan
from fleetform.planner.schedule import bounds_at
from fleetform.planner.status import BAD, Picture, changed, phase_word, status

P = ReplicaPhase
FINAL = frozenset({BlockReason.START_FAILED, BlockReason.MODEL_DOES_NOT_FIT, BlockReason.VERSION_REFUSED})
"""What is waited for in vain until spec or hosts change."""
RECOVERED = "Recovered"
LOST = "ReplicaLost"
GOOD_NEWS = {
    Reason.ADMITTED: "the versions are verified, and there is quota and room",
    Reason.FETCHING: "replicas fetch their artifact",
    Reason.SERVING: "a ready replica answers requests",
    Reason.SHIFTING_TRAFFIC: "traffic moves to the new split",
    Reason.SCALED_TO_ZERO: "nothing runs; the first request starts a replica",
    Reason.SETTLED: "every weight is in force, and every replica that is wanted is ready",
}
"""What events say for reasons whose conditions need no words."""


def route_of(draft: Draft) -> EndpointRoute:
    """The route that the gateways should have."""
    serving = frozenset(item.replica.replica_id for item in draft.observed.replicas if has_proven_itself(item))
    return routes.route(draft.desired, draft.state, draft.replicas, serving, phase_word(picture(draft)), draft.observed.start_times)


def picture(draft: Draft) -> Picture:
    published = draft.observed.published
    return Picture(
        desired=draft.desired,
        before=draft.observed.status,
        state=draft.state,
        replicas=draft.replicas,
        blocked=draft.blocked,
        counted=draft.desired.effective.min_replicas if draft.state is None else draft.count(draft.state),
        stalled=_stalled(draft),
        rejected=draft.rejected,
        config_rejected="" if published is None else published.rejected,
        away=tuple(sorted({i.replica.members[0].host for i in draft.observed.replicas if not i.reachable})),
    )


def _stalled(draft: Draft) -> str:
    """Why nothing more is tried until spec or hosts change; empty while something is."""
    return next((blocked.message for blocked in draft.blocked if blocked.reason in FINAL), "")


def reported(planned: tuple[Draft, tuple[Action, ...]]) -> Plan:
    """The finished plan."""
    draft, actions = planned
    after = msgspec.structs.replace(status(picture(draft), draft.now), scaling=draft.scaling)
    return Plan(
        actions=actions,
        blocked=(*draft.blocked, *_waits(draft)),
        status=after,
        rollout=draft.state,
        holds=_holds(draft),
        events=(*draft.events, *_condition_events(draft.observed.status.conditions, after.conditions), *_replica_events(draft)),
        needs_capacity=draft.needs_capacity,
        next_at=_next_at(draft),
        scaling=draft.scaling,
        records=_records(draft),
    )


def _records(draft: Draft) -> tuple[Rollout, ...]:
    """Rollouts of which something new is to be told: one that was superseded, and the one under way."""
    before = None if draft.observed.rollout is None else draft.observed.rollout.record
    current = None if draft.state is None else draft.state.record
    return tuple(record for record in (draft.ended, None if current == before else current) if record is not None)


def _waits(draft: Draft) -> Iterator[Blocked]:
    """What hosts and proxies are busy with."""
    away = sorted({i.replica.members[0].host for i in draft.observed.replicas if not i.reachable})
    if away:
        yield Blocked(reason=BlockReason.HOST_UNREACHABLE, message=f"no answer from {', '.join(away)}")
    busy = [r.replica_id for r in draft.replicas if r.phase in (P.PLACING, P.FETCHING, P.STARTING, P.DRAINING)]
    if busy:
        yield Blocked(reason=BlockReason.HOST_WORKS, message=f"on their way: {', '.join(sorted(busy))}")
    published = draft.observed.published
    if published is not None and not published.acked:
        yield Blocked(reason=BlockReason.PROXY_ACK, message="the proxy has not taken the route yet")


def _condition_events(before: tuple[Condition, ...], after: tuple[Condition, ...]) -> Iterator[NewEvent]:
    """What a person wants to read of the conditions that have changed. What is placed and starts is told of each replica."""
    degraded = condition(before, ConditionType.DEGRADED)
    for new in changed(before, after):
        if new.reason is Reason.NONE:
            if degraded is not None:
                yield NewEvent(kind="Normal", reason=RECOVERED, message="nothing is amiss any more")
        elif new.reason not in (Reason.PLACING, Reason.STARTING):
            kind = "Warning" if new.reason in BAD else "Normal"
            yield NewEvent(kind=kind, reason=new.reason, message=new.message or GOOD_NEWS[new.reason])


def _replica_events(draft: Draft) -> Iterator[NewEvent]:
    for reserve in draft.reserves:
        yield _replica_event("Normal", reserve.replica, f"placed on {reserve.reservation.host}")
    for replica in draft.replicas:
        if replica.lost_since is not None and draft.item(replica.replica_id).replica.lost_since is None:
            what = f"no answer from {replica.members[0].host} for {draft.observed.host_lost_s} s; another one is to take its place"
            yield NewEvent(kind="Warning", reason=LOST, message=f"replica {replica.replica_id}: {what}", replica_id=replica.replica_id)
        before = draft.item(replica.replica_id).replica.phase
        if replica.phase is before:
            continue
        if replica.phase is P.FAILED:
            yield _replica_event("Warning", replica, f"{replica.failure}: {replica.message}")
        elif replica.phase in (P.STARTING, P.READY, P.DRAINING, P.STOPPED):
            yield _replica_event("Normal", replica, f"{before} → {replica.phase}")


def _replica_event(kind: str, replica: Replica, what: str) -> NewEvent:
    message = f"replica {replica.replica_id} of {replica.track}: {what}"
    return NewEvent(kind=kind, reason=f"Replica{replica.phase}", message=message, replica_id=replica.replica_id)


def _holds(draft: Draft) -> tuple[str, ...]:
    """Uids of the versions whose tracks are in use: the spec's, those that still get traffic, and those that are kept warm."""
    if draft.state is None or draft.desired.deleting:
        return ()
    versions = (draft.desired.versions.get(track.model_version) for track in draft.state.tracks.values())
    return tuple(sorted({version.uid for version in versions if version is not None and not version.deleted}))


def _next_at(draft: Draft) -> datetime | None:
    """The nearest moment at which the plan would differ though nothing happens."""
    state, found = draft.state, list[datetime]()
    if state is None or draft.desired.deleting:
        return None
    next_look = gate.next_look(state, draft.desired.effective, draft.now)
    if next_look is not None:
        found.append(next_look)
    bounds_change = bounds_at(draft.desired.effective, draft.now).next_at
    found += [bounds_change] if bounds_change is not None else []
    lost_from = (lifecycle.lost_from(item, draft.observed.host_lost_s) for item in draft.observed.replicas)
    found += [at for at in lost_from if at is not None]
    found += [at + timedelta(seconds=draft.desired.effective.bake_s) for at in state.idle_since.values()]
    for track, failures in state.failures.items():
        again = rollout.retry_at(state, track)
        found += [again] if again is not None else []
        found.append(failures.last_at + timedelta(seconds=rollout.STABLE_S))
    found += [r.ready_at + timedelta(seconds=rollout.STABLE_S) for r in draft.replicas if r.ready_at and r.track in state.failures]
    for replica in draft.replicas:
        if replica.phase in (P.PLACING, P.FETCHING, P.STARTING):
            limit_s = draft.start_limit_s(replica.track) + START_GRACE_S
            found.append(replica.created_at + timedelta(seconds=limit_s))
    return min((at for at in found if at > draft.now), default=None)
