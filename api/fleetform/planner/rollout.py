"""How traffic moves from one set of tracks to another: by steps, each of which waits for replicas, the proxies' ACK and its gate.

A step of s % moves the weights s % of the way from the old split to the new. A new generation during a rollout starts from the
split that is in force, so that two rollouts never interleave. With no incumbent the first version takes all once it is ready.
Back to the last split that had settled it goes in one change, without a gate: whoever flees from a bad version is not held up. So does
whoever stops at the split that is in force.

A track whose starts fail FAILED_STARTS times is turned back when an incumbent serves; without one the endpoint stalls.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

import msgspec

from fleetform.domain.effective import EffectiveEndpoint
from fleetform.domain.replica import FailureReason, Replica, ReplicaPhase
from fleetform.domain.rollout import SWAP, RolloutState, Track, TrackFailures, split_at
from fleetform.planner import history
from fleetform.planner.backoff import spread_s
from fleetform.planner.model import Blocked, BlockReason

FAILED_STARTS = 3
MOST_WEIGHT = 75
"""A track with so much of the traffic is at most a third short of its replicas when it gets all of it."""
STARVED_S = 3600
"""The pause after FAILED_STARTS engines in a row that were killed for want of memory."""
STABLE_S = 60
"""A replica that has been ready for so long clears its track's failed starts."""

HOPELESS = frozenset(
    {
        FailureReason.ARTIFACT_MISSING,
        FailureReason.ACCESS_DENIED,
        FailureReason.DIGEST_MISMATCH,
        FailureReason.LAUNCH_REFUSED,
        FailureReason.START_TIMEOUT,
        FailureReason.WRONG_MODEL,
    }
)
"""Reasons that another start would only repeat: one counts as FAILED_STARTS."""


def adopted(
    state: RolloutState | None,
    generation: int,
    effective: EffectiveEndpoint,
    tracks: dict[str, Track],
    weights: dict[str, int],
    serving: Collection[str],
) -> RolloutState:
    """state with generation's tracks and weights as the new side. serving: tracks with a ready replica.

    Failed starts of the wanted tracks are forgotten: a changed spec, `rollout.retry` included, is a new try.
    """
    last = len(effective.steps) - 1
    fresh = RolloutState(generation=generation, new=weights, in_force=weights, steps=effective.steps, step=last, tracks=tracks)
    if state is None:
        return fresh
    kept = msgspec.structs.replace(
        fresh,
        tracks=state.tracks | tracks,
        idle_since={t: at for t, at in state.idle_since.items() if t not in weights},
        failures={t: failures for t, failures in state.failures.items() if t not in weights},
        before=state.before,
        record=state.record,
    )
    if weights == state.new and not state.old:
        return kept
    if weights == state.new and (state.back or effective.steps == state.steps or (is_swap(state) and {*effective.steps} <= {*state.steps})):
        same = {name: getattr(state, name) for name in ("old", "in_force", "steps", "step", "step_at", "back", "baseline")}
        return msgspec.structs.replace(kept, **same)
    incumbent = {t: weight for t, weight in state.in_force.items() if weight > 0}
    if not any(t in serving for t in incumbent):
        return kept
    moving = msgspec.structs.replace(kept, old=incumbent, in_force=incumbent, step=-1, before=incumbent if state.settled else state.before)
    # To stay where it is is to go nowhere: no version gets more than it has, and there is nothing to hold or to judge.
    is_back = weights in (incumbent, state.before) and all(t in serving for t, weight in weights.items() if weight > incumbent.get(t, 0))
    return msgspec.structs.replace(moving, back=True, steps=(100,)) if is_back else moving


def acknowledged(state: RolloutState, acked: bool, now: datetime) -> RolloutState:
    """state with the moment at which its weights came into force.

    acked: the route with the weights in force, and all of its targets, is in force in every live proxy.
    """
    if not acked or state.settled or state.step < 0 or state.step_at is not None:
        return state
    return msgspec.structs.replace(state, step_at=now)


def advanced(state: RolloutState, ready: dict[str, int], final: dict[str, int], now: datetime) -> tuple[RolloutState, Blocked | None]:
    """The next state, and what it waits for. ready: replicas per track now. final: replicas per track that `new` asks for."""
    if state.settled:
        return state, None
    if state.step >= 0 and state.step_at is None:
        return state, Blocked(reason=BlockReason.PROXY_ACK, message="the proxy has not taken the route yet")
    if state.old and history.is_open(state.record):
        return state, Blocked(reason=BlockReason.STEP_HOLD, message=f"step {state.steps[state.step]} % is held")
    if state.step == len(state.steps) - 1:
        return _settled(state, ready, final, now)
    step = _next_step(state, ready)
    short = next_short(state, ready, final)
    if short:
        return state, _waiting_for(short)
    in_force = split_at(state.old, state.new, state.steps[step])
    return msgspec.structs.replace(state, step=step, step_at=None, in_force=in_force), None


def is_moving(state: RolloutState | None) -> bool:
    """True while traffic is on its way to another split: the number of replicas then never goes down."""
    return state is not None and bool(state.old) and not state.settled


def step_ends(state: RolloutState, effective: EffectiveEndpoint) -> datetime | None:
    """When the hold of the current step is over; None when no step is held. The last one is held too, where something served before."""
    if not is_moving(state) or state.back or state.step_at is None or state.step < 0 or effective.step_hold_s == 0:
        return None
    return state.step_at + timedelta(seconds=effective.step_hold_s)


def _next_step(state: RolloutState, ready: dict[str, int]) -> int:
    """The step after the one in force; the last one where the swap of a single replica left nothing to step from."""
    last = len(state.steps) - 1
    gone = is_swap(state) and not any(ready.get(t, 0) for t in state.old)
    return last if gone else min(last, state.step + 1)


def next_short(state: RolloutState, ready: dict[str, int], final: dict[str, int]) -> list[str]:
    """Tracks that would get more traffic by the next step than their ready replicas are for; after the last, those that lack any."""
    if state.step == len(state.steps) - 1:
        return [t for t in sorted(final) if ready.get(t, 0) < final[t]]
    percent = state.steps[_next_step(state, ready)]
    growing = [t for t, weight in sorted(state.new.items()) if weight > state.old.get(t, 0)]
    return [t for t in growing if ready.get(t, 0) < _needed(state, t, final[t], percent)]


def _needed(state: RolloutState, track: str, final: int, percent: int) -> int:
    """Ready replicas of track for a step of percent of the way to final ones.

    In a swap one is always on its way, so that one less is enough. To be rid of a canary at once, what carries most of the traffic
    already is trusted with the rest while more replicas of it start.
    """
    if is_swap(state):
        return max(1, min(final - 1, final * percent // 100))
    if state.back and state.old.get(track, 0) >= MOST_WEIGHT:
        return max(1, final * state.old[track] // 100)
    # Of the share that it has then, which is what it had and percent of what it gets.
    old, new = state.old.get(track, 0), state.new[track]
    return max(1, -(-final * (old * (100 - percent) + new * percent) // (100 * new)))


def _waiting_for(short: list[str]) -> Blocked:
    return Blocked(reason=BlockReason.HOST_WORKS, message=f"waiting for replicas of {', '.join(short)}")


def _settled(state: RolloutState, ready: dict[str, int], final: dict[str, int], now: datetime) -> tuple[RolloutState, Blocked | None]:
    short = next_short(state, ready, final)
    if short:
        return state, _waiting_for(short)
    leaving = {t: now for t in state.old if t not in state.new}
    return msgspec.structs.replace(state, old={}, settled=True, idle_since=state.idle_since | leaving), None


def not_ahead(state: RolloutState, now: datetime) -> RolloutState:
    """state with nothing in it later than now: where a clock was set back, or a predecessor's was fast, holds and pauses begin anew."""
    step_at = None if state.step_at is None else min(state.step_at, now)
    idle_since = {t: min(at, now) for t, at in state.idle_since.items()}
    failures = {t: msgspec.structs.replace(f, last_at=min(f.last_at, now)) for t, f in state.failures.items()}
    if (step_at, idle_since, failures) == (state.step_at, state.idle_since, state.failures):
        return state
    return msgspec.structs.replace(state, step_at=step_at, idle_since=idle_since, failures=failures)


def counted(state: RolloutState, failed: Iterable[Replica], now: datetime) -> RolloutState:
    """state with the failed starts of these replicas, which have just failed. A lost host is not the track's fault."""
    failures = dict(state.failures)
    for replica in failed:
        if replica.failure is None or replica.failure is FailureReason.HOST_LOST:
            continue
        before = failures[replica.track].count if replica.track in failures else 0
        count = max(before + 1, FAILED_STARTS) if replica.failure in HOPELESS else before + 1
        failures[replica.track] = TrackFailures(
            count=count, last_at=now, reason=replica.failure, message=replica.message, log_tail=replica.log_tail
        )
    return state if failures == state.failures else msgspec.structs.replace(state, failures=failures)


def forgiven(state: RolloutState, replicas: Iterable[Replica], now: datetime) -> RolloutState:
    """state without the failed starts of tracks that have run steadily since."""
    steady = {
        replica.track
        for replica in replicas
        if replica.phase is ReplicaPhase.READY and replica.ready_at and now >= replica.ready_at + timedelta(seconds=STABLE_S)
    }
    failures = {t: f for t, f in state.failures.items() if t not in steady or now < f.last_at + timedelta(seconds=STABLE_S)}
    return state if failures == state.failures else msgspec.structs.replace(state, failures=failures)


def exhausted(state: RolloutState, track: str) -> bool:
    """True when the track has failed so often that it is given up, where giving up is possible."""
    return track in state.failures and state.failures[track].count >= FAILED_STARTS


def turned_back(state: RolloutState, ready: dict[str, int]) -> str | None:
    """The track for whose failed starts the rollout is rolled back, or None. ready: replicas per track.

    Where the old replicas have made room already, requests wait: one failed start is enough.
    """
    if not state.old:
        return None
    waiting = is_swap(state) and not any(ready.get(t, 0) for t in (*state.old, *state.new))
    new = [t for t in sorted(state.new) if t not in state.old]
    return next((t for t in new if exhausted(state, t) or (waiting and t in state.failures)), None)


def is_swap(state: RolloutState) -> bool:
    """True when old replicas give up their room before new ones start, because there is none beside them."""
    return bool(state.old) and state.record is not None and state.record.strategy == SWAP


def rolled_back(state: RolloutState) -> RolloutState:
    """state with the old split in force at once and, where that one had never settled, on its way back from it to the last that had."""
    back = not state.back and bool(state.before) and all(t in state.tracks for t in state.before)
    good = state.before if back else state.old
    kept = state.old.keys() | state.idle_since.keys() | good.keys()
    turned = msgspec.structs.replace(
        state,
        new=good,
        in_force=state.old,
        step_at=None,
        baseline=None,
        tracks={t: track for t, track in state.tracks.items() if t in kept},
        idle_since={t: at for t, at in state.idle_since.items() if t not in good},
        failures={t: f for t, f in state.failures.items() if t in kept},
    )
    if good == state.old:
        return msgspec.structs.replace(turned, old={}, step=len(state.steps) - 1, before={}, back=False)
    return msgspec.structs.replace(turned, steps=(100,), step=-1, back=True)


def stalled(state: RolloutState, ready: dict[str, int]) -> str | None:
    """The track that keeps the endpoint from ever serving, or None: its first starts have failed and nothing else serves."""
    if state.settled or state.old:
        return None
    return next((t for t in sorted(state.new) if exhausted(state, t) and ready.get(t, 0) == 0), None)


def retry_at(state: RolloutState, track: str) -> datetime | None:
    """When the track may be started again after its last failed start; None: at any time.

    One that was killed for want of memory again and again would only be so once more, and take its neighbours with it.
    """
    failures = state.failures.get(track)
    if failures is None:
        return None
    starved = failures.reason == FailureReason.OOM_KILLED and failures.count >= FAILED_STARTS
    return failures.last_at + timedelta(seconds=STARVED_S if starved else spread_s(failures.count, track))


def baked(state: RolloutState, bake_s: int, gone: Collection[str], now: datetime) -> RolloutState:
    """state without idle tracks whose bake is over. gone: tracks whose version was deleted, which ends their bake.

    What had settled before is idle too once another rollout has begun where none of its traffic was left.
    """
    served = state.new.keys() | state.old.keys()
    left = {t: now for t in state.before if is_moving(state) and t in state.tracks and t not in served}
    idle = {t: at for t, at in (left | state.idle_since).items() if t not in gone and now < at + timedelta(seconds=bake_s)}
    tracks = {t: track for t, track in state.tracks.items() if t in served or t in idle}
    failures = {t: f for t, f in state.failures.items() if t in tracks}
    if idle == state.idle_since and len(tracks) == len(state.tracks):
        return state
    return msgspec.structs.replace(state, idle_since=idle, tracks=tracks, failures=failures)
