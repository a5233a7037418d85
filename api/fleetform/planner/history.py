"""The record of a rollout while it goes: what `GET …/rollouts` tells. Pure; kept in the rollout's state and written with the plan."""

from collections import Counter
from collections.abc import Collection
from datetime import datetime

import msgspec

from fleetform.domain.effective import EffectiveEndpoint
from fleetform.domain.endpoint import Rejected
from fleetform.domain.events import NewEvent
from fleetform.domain.rollout import SURGE, SWAP, Rollout, RolloutPhase, RolloutState, RolloutStep, StepOutcome, Track
from fleetform.planner.verdict import Verdict

SUPERSEDED = "Superseded"
DELETED = "Deleted"


def adopted(before: RolloutState | None, after: RolloutState, now: datetime) -> tuple[Rollout | None, RolloutState]:
    """The record that ends because another generation was adopted (None: none was under way), and after with its own.

    A generation that moves no traffic, a limit or a label, has none. One that goes on with the move under way takes its steps over.
    """
    running = None if before is None or not is_running(before.record) else before.record
    if before is not None and running is None and not after.old and after.new == before.new:
        return None, after
    goes_on = running is not None and before is not None and (after.old, after.new, after.steps) == (before.old, before.new, before.steps)
    ended = closed(running, RolloutPhase.SUPERSEDED, now, SUPERSEDED)
    return ended, begun(after, now, running.steps if goes_on and running is not None else ())


def kept(state: RolloutState, now: datetime) -> RolloutState:
    """state with a record, which one that was begun by an earlier release has not."""
    if state.settled or state.record is not None:
        return state
    return begun(state, now, (_step(state),) if state.step >= 0 else ())


def begun(state: RolloutState, now: datetime, carried: tuple[RolloutStep, ...] = ()) -> RolloutState:
    """state with a record of its own. carried: steps of the rollout that this one goes on with."""
    names = labels(state.tracks, state.old.keys() | state.new.keys())
    record = Rollout(
        generation=state.generation,
        phase=RolloutPhase.RUNNING,
        strategy=SURGE,
        started_at=now,
        pause_s=0,
        old=_named(state.old, names),
        new=_named(state.new, names),
        steps=carried or (() if state.old else (_step(state),)),
    )
    return msgspec.structs.replace(state, record=record)


def labels(tracks: dict[str, Track], used: Collection[str]) -> dict[str, str]:
    """What people call each of the used tracks: its variant, with the version where a variant has two, its id where those agree."""
    known = {t: tracks[t] for t in used if t in tracks}
    variants = Counter(track.variant for track in known.values())
    versions = Counter((track.variant, track.model_version) for track in known.values())
    found = {}
    for track_id, track in known.items():
        if variants[track.variant] == 1:
            found[track_id] = track.variant
        elif versions[track.variant, track.model_version] == 1:
            found[track_id] = f"{track.variant} ({track.model_version})"
        else:
            found[track_id] = track_id
    return found


def _named(weights: dict[str, int], names: dict[str, str]) -> dict[str, int]:
    return {names.get(t, t): weight for t, weight in sorted(weights.items())}


def _step(state: RolloutState) -> RolloutStep:
    names = labels(state.tracks, state.old.keys() | state.new.keys())
    return RolloutStep(percent=state.steps[state.step], weights=_named(state.in_force, names))


def is_running(record: Rollout | None) -> bool:
    return record is not None and record.phase is RolloutPhase.RUNNING


def is_open(record: Rollout | None) -> bool:
    """True while the last step of a running rollout has no outcome."""
    if record is None or record.phase is not RolloutPhase.RUNNING or not record.steps:
        return False
    return record.steps[-1].outcome is StepOutcome.RUNNING


def followed(before: RolloutState, after: RolloutState) -> RolloutState:
    """after, with what moved between the two in its record: a step that was entered, or whose weights are in force now."""
    record = after.record
    if record is None or record.phase is not RolloutPhase.RUNNING:
        return after
    if after.step != before.step:
        record = msgspec.structs.replace(record, steps=(*record.steps, _step(after)))
    if after.step_at is not None and record.steps and record.steps[-1].started_at is None:
        record = _with_last(record, msgspec.structs.replace(record.steps[-1], started_at=after.step_at))
    return after if record == after.record else msgspec.structs.replace(after, record=record)


def step_looked(record: Rollout | None, found: Verdict, now: datetime) -> Rollout | None:
    """record with what a look at its current step found."""
    if record is None or not record.steps:
        return record
    ended = None if found.outcome is StepOutcome.RUNNING else now
    step = msgspec.structs.replace(record.steps[-1], outcome=found.outcome, evidence=found.evidence, ended_at=ended)
    return _with_last(record, step)


def closed(record: Rollout | None, phase: RolloutPhase, now: datetime, reason: str = "", evidence: tuple[str, ...] = ()) -> Rollout | None:
    """record at its end; one that has ended already stays as it is. A step that was still held was not judged."""
    if record is None or record.phase is not RolloutPhase.RUNNING:
        return record
    steps = record.steps
    if steps and steps[-1].outcome is StepOutcome.RUNNING:
        why = _unjudged(phase)
        last = msgspec.structs.replace(steps[-1], outcome=StepOutcome.NOT_JUDGED, ended_at=now, evidence=(why,))
        steps = (*steps[:-1], last)
    return msgspec.structs.replace(record, phase=phase, ended_at=now, reason=reason, evidence=evidence, steps=steps)


def _unjudged(phase: RolloutPhase) -> str:
    if phase is RolloutPhase.COMPLETED:
        return "nothing served before that it could be compared with"
    return "the rollout ended before the step did"


def turned_back(record: Rollout | None, rejected: Rejected, now: datetime) -> Rollout | None:
    """record of a rollout that was rolled back."""
    return closed(record, RolloutPhase.ROLLED_BACK, now, rejected.reason, rejected.evidence)


def by_swap(record: Rollout, pause_s: int | None) -> Rollout:
    """record of a rollout whose old replicas make room for the new ones. pause_s: how long requests are held; None: not known."""
    return msgspec.structs.replace(record, strategy=SWAP, pause_s=pause_s)


def pause_words(pause_s: int | None) -> str:
    """How long requests are expected to be held."""
    if pause_s is None:
        return "requests are held until the new version is ready; how long its start takes is not known yet"
    if pause_s == 0:
        return "one at a time: the others go on serving"
    return f"requests are held until the new version is ready, for about {pause_s} s"


def announced(state: RolloutState, effective: EffectiveEndpoint) -> NewEvent | None:
    """What is going to happen, when a rollout has just begun; None of the first version, which takes nothing over."""
    record = state.record
    if record is None or not state.old:
        return None
    way = ", ".join(f"{name}={weight}" for name, weight in record.old.items())
    way = f"{way} → {', '.join(f'{name}={weight}' for name, weight in record.new.items())}"
    if state.back:
        return NewEvent(kind="Normal", reason="RolloutStarted", message=f"{way}, in one change: the split from before")
    steps = f"in steps of {', '.join(map(str, state.steps))} %, each held {effective.step_hold_s} s"
    beside = "new replicas start beside the old ones"
    room = f"{beside}; where there is no room, old ones make room" if effective.strategy == SWAP else beside
    return NewEvent(kind="Normal", reason="RolloutStarted", message=f"{way}, {steps}; {room}")


def words(state: RolloutState, hold_ends: datetime | None) -> str:
    """Where a rollout stands, for the one who waits for it; empty when none is under way."""
    record = state.record
    if record is None or record.phase is not RolloutPhase.RUNNING or not state.old:
        return ""
    # A single one that has been given weight is ready, and nothing is held any more.
    pause = f", {pause_words(record.pause_s)}" if record.pause_s == 0 or not record.steps else ""
    parts = [f"swap in place{pause}"] if record.strategy == SWAP else []
    if record.steps:
        step = record.steps[-1]
        split = ", ".join(f"{name}={weight}" for name, weight in sorted(step.weights.items()))
        held = "" if hold_ends is None else f", held until {hold_ends:%H:%M:%S} UTC"
        parts.append(f"step {step.percent} % of {', '.join(map(str, state.steps))}: {split}{held}")
    return "; ".join(parts)


def _with_last(record: Rollout, step: RolloutStep) -> Rollout:
    return msgspec.structs.replace(record, steps=(*record.steps[:-1], step))
