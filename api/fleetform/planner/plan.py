"""`plan`: what should be done now for one endpoint, from what is wanted and what is seen. Pure: the same input gives the same bytes.

One call takes these steps in this order; each looks only at what the ones before it found.

    follow     what the hosts say of the replicas → their phases                         lifecycle.py
    adopt      a new generation → tracks and weights                                     tracks.py, rollout.py
    count      how many replicas it asks for                                             count.py
    shift      failed starts, the step's gate, rollback, the next step, the end of a bake rollout.py, gate.py
    resize     what is missing is placed, what is too much drains, what is worn is replaced  scale.py, placement.py, wear.py
    route      what the gateways are told                                                routes.py
    command    starts, stops, releases
    report     conditions, events                                                        status.py
"""

from collections import Counter
from datetime import datetime

import msgspec

from fleetform.domain.desired import Desired, VersionFacts
from fleetform.domain.endpoint import Rejected
from fleetform.domain.replica import Replica, ReplicaPhase, moved
from fleetform.domain.rollout import RolloutPhase, RolloutState
from fleetform.planner import commands, count, gate, history, phases, placing, report, rollout, scale, swap, tracks, warmth, wear
from fleetform.planner.draft import Draft
from fleetform.planner.lifecycle import LIVING, draining, followed, has_proven_itself, is_routed
from fleetform.planner.model import Blocked, BlockReason, Observed, Plan
from fleetform.planner.status import words

P = ReplicaPhase


def plan(desired: Desired, observed: Observed, now: datetime) -> Plan:
    """What is done now, what waits and why, and what is written down.

    An endpoint whose wish is not met has an action, a Blocked, a time to look again, or replicas that their hosts have in hand: they
    start, stop or hang there, and the host tells how that ends. Nothing is sent to a host that does not answer.
    """
    draft = _follow(Draft(desired=desired, observed=observed, state=observed.rollout, now=now))
    draft = _leave(draft) if desired.deleting else _resize(_shift(_count(_adopt(draft))))
    return report.reported(commands.commanded(draft))


def _follow(draft: Draft) -> Draft:
    """Every replica in the phase that its host and the proxy show."""
    found = []
    for item in draft.observed.replicas:
        replica = followed(item, draft.start_limit_s(item.replica.track), draft.observed.host_lost_s, draft.now)
        if replica.phase is P.STARTING and has_proven_itself(item) and is_routed(replica.replica_id, draft.observed.published):
            replica = moved(replica, P.READY, draft.now)
        found.append(phases.kept(item, replica, draft.now))
    return draft.but(replicas=tuple(found))


def _leave(draft: Draft) -> Draft:
    """An endpoint that is being deleted: every replica drains; deletion wins over whatever was on its way."""
    if draft.state is not None:
        ended = history.closed(draft.state.record, RolloutPhase.SUPERSEDED, draft.now, history.DELETED)
        draft = draft.but(state=msgspec.structs.replace(draft.state, record=ended))
    return _drained(draft, [r for r in draft.replicas if r.phase in LIVING and draft.reachable(r.replica_id)])


def _adopt(draft: Draft) -> Draft:
    """The tracks and weights of a new generation, once all of its versions are verified."""
    desired, state = draft.desired, draft.state
    if state is not None and state.generation >= desired.generation and not _is_outdated(draft, state):
        return draft
    missing = tracks.unverified(desired)
    if missing:
        refused = any(version.verified is False or version.deleted for version in missing)
        reason = BlockReason.VERSION_REFUSED if refused else BlockReason.VERSION_NOT_VERIFIED
        return draft.waiting(reason, "; ".join(_why_unverified(version) for version in missing))
    if desired.shape is None:
        return draft.waiting(BlockReason.UNKNOWN_INSTANCE_TYPE, f"there is no instance type {desired.effective.instance_type}")
    wanted, weights = tracks.wanted(desired)
    serving, effective = _proven(draft), desired.effective
    if scale.is_at_zero(state, draft.observed.scaling):
        # What was proven serves as soon as it is asked for; a new version proves itself in one step, since nothing is served meanwhile.
        serving, effective = Counter(draft.wanted_state.in_force), msgspec.structs.replace(effective, steps=(100,))
    new = rollout.adopted(state, desired.generation, effective, wanted, weights, serving)
    ended, new = history.adopted(state, new, draft.now)
    told = history.announced(new, desired.effective) if state is None or new.record != state.record else None
    return draft.but(state=new, ended=ended, events=draft.events if told is None else (*draft.events, told))


def _proven(draft: Draft) -> Counter[str]:
    """Replicas per track that are ready, or have proven themselves to their host: the proxies may send them requests already."""
    starting = (r for r in draft.replicas if r.phase is P.STARTING and has_proven_itself(draft.item(r.replica_id)))
    return Counter(r.track for r in (*(r for r in draft.replicas if r.phase is P.READY), *starting))


def _count(draft: Draft) -> Draft:
    """How many replicas are asked for: by the load as the autoscaler sees it, within the bounds of now."""
    seen = draft.observed
    if draft.state is None:
        return draft.but(scaling=seen.scaling)
    found = count.chosen(draft.desired.effective, draft.state, seen.scaling, seen.decision, seen.start_times, draft.now)
    return draft.but(scaling=found, events=(*draft.events, *count.told(seen.scaling, found)))


def _is_outdated(draft: Draft, state: RolloutState) -> bool:
    """True when nothing of the generation runs and it is made of something else now: its instance type or engine was mended."""
    desired = draft.desired
    if any(r.track in state.new and r.phase in LIVING for r in draft.replicas) or draft.rejected is not None:
        return False
    if desired.shape is None or tracks.unverified(desired):
        return False
    return tracks.wanted(desired)[0].keys() != state.new.keys()


def _why_unverified(version: VersionFacts) -> str:
    if version.deleted:
        return f"model version {version.ref} is not registered"
    if version.verified is False:
        return f"model version {version.ref} was refused: {version.message}"
    return f"model version {version.ref} is being verified"


def _shift(draft: Draft) -> Draft:
    """Failed starts are counted, the step's gate is asked, a hopeless rollout is turned back, weights move on, bakes end."""
    if draft.state is None:
        return draft
    before = {item.replica.replica_id: item.replica.phase for item in draft.observed.replicas}
    failed = [r for r in draft.replicas if r.phase is P.FAILED and before[r.replica_id] is not P.FAILED]
    state = rollout.not_ahead(draft.state, draft.now)
    counted = rollout.counted(rollout.forgiven(state, draft.replicas, draft.now), failed, draft.now)
    draft = _judge(draft.but(state=history.kept(counted, draft.now)))
    draft = _advance(draft)
    state = draft.wanted_state
    gone = [t for t, track in state.tracks.items() if _is_gone(draft.desired, track.model_version)]
    return draft.but(state=rollout.baked(state, draft.desired.effective.bake_s, gone, draft.now))


def _judge(draft: Draft) -> Draft:
    """A rollout whose starts fail, or whose step fails its gate, is turned back: the old split is one change of weights away."""
    state = draft.wanted_state
    bad = rollout.turned_back(state, scale.ready(draft.replicas))
    if bad is not None:
        return _turn_back(draft, _rejection(state, bad))
    state = rollout.acknowledged(state, _acked(draft), draft.now)
    look = gate.looked(history.followed(draft.wanted_state, state), draft.observed.windows, draft.desired.effective, draft.now)
    draft = draft.but(state=look.state, events=(*draft.events, *look.events))
    if look.verdict is None or look.verdict.reason is None:
        return draft
    return _turn_back(draft, Rejected(generation=state.generation, reason=look.verdict.reason, evidence=look.verdict.evidence))


def _turn_back(draft: Draft, rejected: Rejected) -> Draft:
    state = draft.wanted_state
    brought = {state.tracks[t].model_version for t in gate.candidates(state) if t in state.tracks}
    rejected = msgspec.structs.replace(rejected, versions=tuple(sorted(brought)))
    ended = history.turned_back(state.record, rejected, draft.now)
    draft = draft.but(state=rollout.rolled_back(msgspec.structs.replace(state, record=ended)), rejection=rejected)
    return draft.but(state=rollout.acknowledged(draft.wanted_state, _acked(draft), draft.now))


def _advance(draft: Draft) -> Draft:
    """The next step of the weights, or the end of the rollout; or what it waits for."""
    before = draft.wanted_state
    final = scale.final(before, draft.asked)
    state, waits = rollout.advanced(before, scale.ready(draft.replicas), final, draft.now)
    state = history.followed(before, gate.with_baseline(before, state, draft.observed.windows))
    if state.settled:
        state = msgspec.structs.replace(state, record=history.closed(state.record, RolloutPhase.COMPLETED, draft.now))
    draft = draft.but(state=state)
    return draft if waits is None else draft.but(blocked=(*draft.blocked, waits))


def _rejection(state: RolloutState, track: str) -> Rejected:
    failure = state.failures[track]
    evidence = (words(failure.reason, failure.message, ()), *failure.log_tail)
    return Rejected(generation=state.generation, reason=failure.reason, evidence=evidence)


def _acked(draft: Draft) -> bool:
    published = draft.observed.published
    return published is not None and published.acked and published.route == report.route_of(draft)


def _is_gone(desired: Desired, ref: str) -> bool:
    version = desired.versions.get(ref)
    return version is None or version.deleted


def _resize(draft: Draft) -> Draft:
    """What is too much drains; what is missing is placed, or it is said why not."""
    state = draft.state
    if state is None:
        return draft
    limits = scale.bounds(state, draft.asked)
    draft = _drained(draft, wear.relieved(draft))
    widened = scale.widened(limits, wear.surging(draft))
    leaving = scale.surplus(widened, draft.replicas, draft.stoppable(), draft.busy())
    draft = _drained(draft, scale.without_a_dip(leaving, state, draft.replicas, draft.asked), keep_warm=True)
    missing = scale.missing(limits, scale.living(draft.replicas))
    if not missing:
        return wear.recycled(draft)
    startable = []
    for track in missing:
        waits = _held_back(draft, state, track)
        if waits is None:
            startable.append(track)
        elif waits not in draft.blocked:
            draft = draft.but(blocked=(*draft.blocked, waits))
    placed, lacking = placing.placed(draft, startable)
    if not lacking:
        return placed
    if not any(r.phase is P.DRAINING or (r.phase is P.STOPPED and draft.item(r.replica_id).holds) for r in draft.replicas):
        leaving = scale.giving_way(state, draft.replicas, draft.asked, draft.stoppable(), draft.busy())
        swapped = None if leaving else swap.making_room(placed, startable)
        if not leaving and swapped is None:
            return placed
        placed = swapped or _drained(placed, leaving)
    # Room is being made, so that what was refused is not refused for good.
    return placed.but(blocked=draft.blocked).waiting(BlockReason.HOST_WORKS, "replicas that are not needed make room")


def _held_back(draft: Draft, state: RolloutState, track: str) -> Blocked | None:
    """Why a missing replica of the track is not started now: its start failed too often, or a moment ago."""
    if rollout.stalled(state, scale.ready(draft.replicas)) == track:
        failure = state.failures[track]
        said = words(failure.reason, failure.message, failure.log_tail)
        message = f"{failure.count} starts of {track} failed, the last with {said}"
        return Blocked(reason=BlockReason.START_FAILED, message=message)
    again = rollout.retry_at(state, track)
    if again is not None and draft.now < again:
        return Blocked(reason=BlockReason.BACK_OFF, message=f"{track} is started again after a pause")
    return None


def _drained(draft: Draft, leaving: list[Replica], *, keep_warm: bool = False) -> Draft:
    """keep_warm: they leave because they are too many, so that those that are well may sleep on."""
    kept = {replica.replica_id for replica in leaving if keep_warm and warmth.may_be_kept(draft, replica)}
    ids = {replica.replica_id for replica in leaving}
    left = (draining(r, draft.now) if r.replica_id in ids else r for r in draft.replicas)
    return draft.but(replicas=tuple(msgspec.structs.replace(r, keep_warm=True) if r.replica_id in kept else r for r in left))
