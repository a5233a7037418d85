"""`swap`: old replicas give up their room for the new ones, where there is none beside them and the spec allows it.

one replica        its requests end, it stops, the new one starts in its place: what comes meanwhile is held by the activator
several replicas   one after the other, each when the next step needs it, so that all but one of them serve at any time; beside the
                   steps of the spec there is one per replica, so that no side gets much more traffic than its replicas are for

A replica leaves as on every other way out: the proxies send it nothing new first. Nothing leaves in vain: only where its room is
enough for a new one, and only while nothing else is missing.
"""

import math

import msgspec

from fleetform.domain.events import NewEvent
from fleetform.domain.replica import Replica, ReplicaPhase
from fleetform.domain.rollout import SWAP, RolloutState
from fleetform.planner import history, placing, rollout, scale
from fleetform.planner.draft import Draft
from fleetform.planner.lifecycle import LIVING, draining

P = ReplicaPhase
ON_THE_WAY = frozenset({P.PLACING, P.FETCHING, P.STARTING})


def making_room(draft: Draft, lacking: list[str]) -> Draft | None:
    """draft in which an old replica leaves for one of the lacking tracks, or in which that has to wait; None: no swap would help.

    lacking: tracks that miss a replica for which there is no room.
    """
    state = draft.state
    if state is None or draft.desired.effective.strategy != SWAP or not rollout.is_moving(state):
        return None
    new = [t for t in lacking if t not in state.old]
    candidates = [replica for replica in _leaving(draft, state) if new and _is_enough(draft, replica, new[0])]
    if not candidates:
        return None
    if not _is_time(draft, state, new[0]):
        return draft
    leaving = candidates[0]
    replicas = tuple(draining(r, draft.now) if r.replica_id == leaving.replica_id else r for r in draft.replicas)
    return _told(draft, state, new[0], leaving).but(replicas=replicas)


def _leaving(draft: Draft, state: RolloutState) -> list[Replica]:
    """Old replicas in the order in which they may leave: of the track with the most, then of the one with the least traffic."""
    alive = scale.living(draft.replicas)
    tracks = sorted((t for t in state.old if t not in state.new), key=lambda t: (-alive[t], state.in_force.get(t, 0), t))
    return [r for track in tracks for r in scale.dispensable(draft.replicas, track, draft.stoppable(), draft.busy())]


def _is_enough(draft: Draft, candidate: Replica, track: str) -> bool:
    """True when a replica of track has a place once the candidate is gone."""
    capacity = draft.observed.capacity
    if capacity is None:
        return False
    kept = tuple(r for r in capacity.reservations if r.replica_id != candidate.replica_id)
    # Of the quota it gives back one of its own instance type.
    same = draft.wanted_state.tracks[candidate.track].instance_type == draft.desired.effective.instance_type
    freed = len(capacity.reservations) - len(kept) if same else 0
    without = msgspec.structs.replace(
        draft.observed,
        capacity=msgspec.structs.replace(capacity, reservations=kept, quota_used=max(0, capacity.quota_used - freed)),
        held=max(0, draft.observed.held - freed),
    )
    placed, full = placing.placed(draft.but(observed=without, reserves=()), [track])
    return not full and bool(placed.reserves)


def _is_time(draft: Draft, state: RolloutState, track: str) -> bool:
    """True when the next step waits for a new replica, nothing is on its way, and everything else that is asked for serves.

    The plan that adopts a generation does not know yet how long its starts take, and leaves it to the next.
    """
    if draft.observed.rollout is None or track not in draft.observed.rollout.tracks:
        return False
    if draft.reserves or any(_is_on_the_way(draft, state, replica) for replica in draft.replicas):
        return False
    ready = scale.ready(draft.replicas)
    if ready.total() < draft.count(state):
        return False
    return bool(rollout.next_short(state, ready, scale.final(state, draft.count(state))))


def _is_on_the_way(draft: Draft, state: RolloutState, replica: Replica) -> bool:
    """True for a new replica that is not ready yet, and for one that has ended and gives back its room just now."""
    if replica.phase in ON_THE_WAY:
        return replica.track not in state.old
    return replica.phase not in LIVING and draft.item(replica.replica_id).holds


def _told(draft: Draft, state: RolloutState, track: str, leaving: Replica) -> Draft:
    """draft with the strategy in the record, a step per replica, and an event, when it is the first replica to leave."""
    if state.record is None or rollout.is_swap(state):
        return draft
    serving = [r for r in draft.replicas if r.phase is P.READY and r.replica_id != leaving.replica_id]
    pause_s = 0 if serving else _start_s(draft, track)
    state = msgspec.structs.replace(state, record=history.by_swap(state.record, pause_s), steps=steps(state, draft.count(state)))
    why = "there is no room beside what serves, so that old replicas make room"
    message = f"generation {state.generation}: {why}; {history.pause_words(pause_s)}"
    event = NewEvent(kind="Normal" if serving else "Warning", reason="SwapStarted", message=message)
    return draft.but(state=state, events=(*draft.events, event))


def steps(state: RolloutState, count: int) -> tuple[int, ...]:
    """The steps of state, and one for each of count replicas, beyond the step that is in force."""
    done = state.steps[: state.step + 1]
    least = done[-1] if done else 0
    each = {-(-100 * number // count) for number in range(1, count)}
    return (*done, *sorted({percent for percent in {*state.steps, *each} if percent > least}))


def _start_s(draft: Draft, track: str) -> int | None:
    times = draft.observed.start_times.get(track)
    return None if times is None else math.ceil(times.p95_s)
