"""The gate of a rollout's step: it is held, its new versions are compared with those they take traffic from, then it is left or failed.

the step is held, and                                              becomes
figures show a worse version, at any time                          Failed: the rollout is turned back
the hold is over, the figures show none                            Passed
the hold is over, too few requests came to tell                    NotJudged
the hold is over, no gateway answers, an SLO is declared           held again, once as long: then NotJudged
the hold is over, no gateway answers, no SLO is declared           NotJudged
the hold is over, and was too short for the gateways' slices       NotJudged
steps are not held, or the split is the one from before or of now  NotJudged

NotJudged goes on, because an endpoint that nobody uses must be able to change; it says why, here and in an event, so that nobody takes
it for a version that was found good. What is left of the incumbent in the last step is compared by what it did in the step before.
"""

from datetime import datetime, timedelta

import msgspec

from fleetform.domain.base import Record
from fleetform.domain.effective import EffectiveEndpoint, EffectiveSlo
from fleetform.domain.events import NewEvent
from fleetform.domain.load import BUCKET_S, TrackWindow, Windows, summed
from fleetform.domain.rollout import RolloutState, StepOutcome
from fleetform.planner import history, rollout, verdict
from fleetform.planner.verdict import Verdict

LOOK_S = 5
"""How often the figures of a held step are looked at."""
NO_FIGURES = "no gateway tells how the versions do"
SHORTEST_S = 2 * BUCKET_S
"""Of a shorter hold there may be no bucket that lies in it whole."""
OF_BEFORE = "the incumbent's figures are of the step before"


class Look(Record, frozen=True, kw_only=True):
    """state: with what was found in its record. verdict: of this look; None when there was nothing to look at."""

    state: RolloutState
    verdict: Verdict | None = None
    events: tuple[NewEvent, ...] = ()


def looked(state: RolloutState, windows: Windows | None, effective: EffectiveEndpoint, now: datetime) -> Look:
    """One look at the current step, if it is routed and not yet left. windows: since the step's weights were in force."""
    if state.settled or not state.old or state.step_at is None or not history.is_open(state.record):
        return Look(state=state)
    found = _verdict(state, windows, effective, now)
    noted = history.step_looked(state.record, found, now)
    event = None if found.outcome is StepOutcome.RUNNING else _event(state, found, effective)
    return Look(
        state=state if noted == state.record else msgspec.structs.replace(state, record=noted),
        verdict=found,
        events=() if event is None else (event,),
    )


def _verdict(state: RolloutState, windows: Windows | None, effective: EffectiveEndpoint, now: datetime) -> Verdict:
    ends = rollout.step_ends(state, effective)
    if ends is None:
        return Verdict(outcome=StepOutcome.NOT_JUDGED, evidence=(_why_not_held(state),))
    over = now >= ends
    # No time at all is covered while a gateway reads the past anew, or by a hold shorter than its slices.
    if windows is None or (over and not windows.tracks and windows.until <= windows.since):
        patience_s = effective.step_hold_s if effective.slo != EffectiveSlo() else 0
        given_up = now >= ends + timedelta(seconds=patience_s)
        why = _too_short(effective) if effective.step_hold_s < SHORTEST_S else NO_FIGURES
        return Verdict(outcome=StepOutcome.NOT_JUDGED if given_up else StepOutcome.RUNNING, evidence=(why,))
    return _together([_of_track(state, track, windows, effective.slo, over=over) for track in candidates(state)])


def _why_not_held(state: RolloutState) -> str:
    if state.back and state.old == state.new:
        return "the split stays as it is"
    return "the split from before, whose versions were kept warm" if state.back else "steps are not held (step_hold_s is 0)"


def _of_track(state: RolloutState, track: str, windows: Windows, slo: EffectiveSlo, *, over: bool) -> Verdict:
    incumbent = baseline(state, windows)
    is_earlier = not _tells(incumbent) and _tells(state.baseline)
    found = verdict.judged(_window(windows, track), state.baseline if is_earlier else incumbent, slo, over=over)
    name = history.labels(state.tracks, state.old.keys() | state.new.keys()).get(track, track)
    said = (*found.evidence, OF_BEFORE) if is_earlier and found.compared else found.evidence
    return msgspec.structs.replace(found, evidence=tuple(f"{name}: {sentence}" for sentence in said))


def _together(found: list[Verdict]) -> Verdict:
    """One verdict over several new versions: the worst of them, in the order Failed, Running, NotJudged, Passed."""
    for outcome in (StepOutcome.FAILED, StepOutcome.RUNNING, StepOutcome.NOT_JUDGED, StepOutcome.PASSED):
        those = [one for one in found if one.outcome is outcome]
        if those:
            return msgspec.structs.replace(those[0], evidence=tuple(said for one in those for said in one.evidence))
    return Verdict(outcome=StepOutcome.NOT_JUDGED, evidence=("no version takes traffic over",))


def candidates(state: RolloutState) -> list[str]:
    """Tracks that get more traffic by the rollout."""
    return [t for t, weight in sorted(state.new.items()) if weight > state.old.get(t, 0)]


def baseline(state: RolloutState, windows: Windows | None) -> TrackWindow | None:
    """How the tracks that give traffic away have done, as one; None when nothing is known."""
    if windows is None:
        return None
    giving = {t for t, weight in state.old.items() if weight > state.new.get(t, 0)}
    found = [window for window in windows.tracks if window.track in giving]
    return summed(", ".join(window.track for window in found), found) if found else None


def with_baseline(before: RolloutState, after: RolloutState, windows: Windows | None) -> RolloutState:
    """after, with what the incumbent did in the step that was just left."""
    found = baseline(before, windows)
    if after.step == before.step or not after.old or not _tells(found):
        return after
    return msgspec.structs.replace(after, baseline=found)


def watched_since(state: RolloutState | None, effective: EffectiveEndpoint) -> datetime | None:
    """Since when the figures of the tracks are wanted; None: nobody asks for them now.

    Before the first step, that is from the rollout's beginning: there the incumbent shows how it does alone.
    """
    if state is None or not rollout.is_moving(state) or state.back or effective.step_hold_s == 0:
        return None
    if state.step >= 0:
        return state.step_at
    return None if state.record is None else state.record.started_at


def next_look(state: RolloutState, effective: EffectiveEndpoint, now: datetime) -> datetime | None:
    """When the held step is to be looked at again; None: no step is held."""
    ends = rollout.step_ends(state, effective)
    if ends is None or not history.is_open(state.record):
        return None
    soon = now + timedelta(seconds=LOOK_S)
    return min(soon, ends) if ends > now else soon


def _tells(window: TrackWindow | None) -> bool:
    return window is not None and window.requests >= verdict.MIN_REQUESTS


def _window(windows: Windows, track: str) -> TrackWindow:
    return next((window for window in windows.tracks if window.track == track), TrackWindow(track=track))


def _too_short(effective: EffectiveEndpoint) -> str:
    hold_s = effective.step_hold_s
    return f"a hold of {hold_s} s is too short to be judged: gateways count in slices of {BUCKET_S} s, so it takes {SHORTEST_S} s"


def _event(state: RolloutState, found: Verdict, effective: EffectiveEndpoint) -> NewEvent:
    """A warning of what failed, and of what should have been judged and was not."""
    as_meant = found.outcome is StepOutcome.PASSED or rollout.step_ends(state, effective) is None
    words = {StepOutcome.PASSED: "passed", StepOutcome.NOT_JUDGED: "was not judged", StepOutcome.FAILED: "failed"}
    message = f"step {state.steps[state.step]} % of generation {state.generation} {words[found.outcome]}: {'; '.join(found.evidence)}"
    return NewEvent(kind="Normal" if as_meant else "Warning", reason=f"Step{found.outcome}", message=message)
