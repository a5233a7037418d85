"""What the figures of two versions in the same time come to."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetform.domain.effective import EffectiveSlo
from fleetform.domain.load import BOUNDS_MS, Histogram, TrackWindow
from fleetform.domain.rollout import RollbackReason, StepOutcome
from fleetform.planner.verdict import exceeds, is_more, judged
from tests.builders import a_window, times

S, R = StepOutcome, RollbackReason
NO_SLO = EffectiveSlo()
GOOD = a_window("v1", 1000)


def mixed(track: str, fast: int, slow: int, slow_ms: float) -> TrackWindow:
    """Requests of which some are slow in everything."""
    parts = (a_window(track, fast), a_window(track, slow, ttft_ms=slow_ms, gap_ms=slow_ms))
    joined: dict[str, Any] = {
        name: Histogram(counts={**getattr(parts[0], name).counts, **getattr(parts[1], name).counts}) for name in ("ttft", "latency", "gaps")
    }
    return TrackWindow(track=track, requests=fast + slow, **joined)


@pytest.mark.parametrize(
    ("new", "old", "slo", "outcome", "reason"),
    [
        # As good, or better.
        (a_window("v2", 100), GOOD, NO_SLO, S.PASSED, None),
        (a_window("v2", 100, ttft_ms=20, gap_ms=5), GOOD, NO_SLO, S.PASSED, None),
        (a_window("v2", 100, errors=1), GOOD, NO_SLO, S.PASSED, None),
        (a_window("v2", 100, errors=5), a_window("v1", 1000, errors=50), NO_SLO, S.PASSED, None),
        # Worse than the incumbent.
        (a_window("v2", 100, errors=20), GOOD, NO_SLO, S.FAILED, R.TOO_MANY_ERRORS),
        (a_window("v2", 10, errors=10), GOOD, NO_SLO, S.FAILED, R.TOO_MANY_ERRORS),
        (a_window("v2", 100, aborts=30), GOOD, NO_SLO, S.FAILED, R.TOO_MANY_ABORTS),
        (a_window("v2", 100, refusals=30), GOOD, NO_SLO, S.FAILED, R.TOO_MANY_REFUSALS),
        (a_window("v2", 100, refusals=30), a_window("v1", 1000, refusals=290), NO_SLO, S.PASSED, None),
        (a_window("v2", 100, refusals=30), None, EffectiveSlo(error_rate=0.01), S.PASSED, None),
        (a_window("v2", 100, aborts=4), GOOD, NO_SLO, S.PASSED, None),
        (a_window("v2", 100, ttft_ms=400), GOOD, NO_SLO, S.FAILED, R.SLOW_FIRST_BYTE),
        (a_window("v2", 100, gap_ms=90), GOOD, NO_SLO, S.FAILED, R.SLOW_TOKENS),
        (mixed("v2", 80, 20, 2000), GOOD, NO_SLO, S.FAILED, R.SLOW_FIRST_BYTE),
        (mixed("v2", 98, 2, 2000), GOOD, NO_SLO, S.PASSED, None),
        # A tenth of a short time is no difference that anybody feels.
        (a_window("v2", 1000, ttft_ms=45), a_window("v1", 1000, ttft_ms=5), NO_SLO, S.PASSED, None),
        (a_window("v2", 1000, ttft_ms=140), GOOD, NO_SLO, S.PASSED, None),
        # Whole answers are not compared: one version may say more.
        (msgspec.structs.replace(a_window("v2", 100), latency=times(60_000, 100)), GOOD, NO_SLO, S.PASSED, None),
        # The SLO.
        (a_window("v2", 100, errors=5), None, EffectiveSlo(error_rate=0.001), S.FAILED, R.TOO_MANY_ERRORS),
        (a_window("v2", 100, errors=1), None, EffectiveSlo(error_rate=0.02), S.PASSED, None),
        (a_window("v2", 100, errors=1), None, EffectiveSlo(error_rate=0.0), S.FAILED, R.TOO_MANY_ERRORS),
        (a_window("v2", 100, ttft_ms=600), None, EffectiveSlo(ttft_p95_ms=500), S.FAILED, R.SLOW_FIRST_BYTE),
        (a_window("v2", 100, ttft_ms=500), None, EffectiveSlo(ttft_p95_ms=500), S.PASSED, None),
        (a_window("v2", 100), None, EffectiveSlo(latency_p95_ms=500), S.FAILED, R.SLOW_ANSWERS),
        (a_window("v2", 100), None, EffectiveSlo(latency_p95_ms=2000), S.PASSED, None),
        # One that the incumbent breaks too judges nobody.
        (a_window("v2", 100, errors=5), a_window("v1", 100, errors=5), EffectiveSlo(error_rate=0.001), S.PASSED, None),
        (a_window("v2", 100), a_window("v1", 100), EffectiveSlo(ttft_p95_ms=50, latency_p95_ms=500), S.PASSED, None),
        # Too little to tell.
        (a_window("v2", 9, errors=9), GOOD, NO_SLO, S.NOT_JUDGED, None),
        (a_window("v2", 19), GOOD, NO_SLO, S.NOT_JUDGED, None),
        (a_window("v2", 1000), a_window("v1", 19), NO_SLO, S.NOT_JUDGED, None),
        (a_window("v2", 20), a_window("v1", 20), NO_SLO, S.PASSED, None),
        (a_window("v2", 0), GOOD, NO_SLO, S.NOT_JUDGED, None),
        (a_window("v2", 1000), None, NO_SLO, S.NOT_JUDGED, None),
        (a_window("v2", 1000), a_window("v1", 3), NO_SLO, S.NOT_JUDGED, None),
    ],
)
def test_at_the_end_of_a_hold(
    new: TrackWindow, old: TrackWindow | None, slo: EffectiveSlo, outcome: StepOutcome, reason: RollbackReason | None
) -> None:
    found = judged(new, old, slo, over=True)
    assert (found.outcome, found.reason) == (outcome, reason), found.evidence
    assert found.evidence
    assert all(found.evidence)


@pytest.mark.parametrize(
    ("new", "outcome"),
    [
        (a_window("v2", 100), S.RUNNING),
        (a_window("v2", 3), S.RUNNING),
        (a_window("v2", 20, errors=20), S.FAILED),
        (a_window("v2", 20, ttft_ms=5000), S.FAILED),
        # What is enough at the end of the hold is not enough at the first look.
        (a_window("v2", 12, errors=1), S.RUNNING),
        (mixed("v2", 30, 9, 2000), S.RUNNING),
    ],
)
def test_before_the_hold_is_over_only_what_is_clear_fails(new: TrackWindow, outcome: StepOutcome) -> None:
    assert judged(new, GOOD, NO_SLO, over=False).outcome is outcome


def test_the_evidence_has_the_figures_of_both_sides() -> None:
    found = judged(a_window("v2", 30, errors=14), a_window("v1", 280, errors=1), NO_SLO, over=True)
    assert found.evidence == ("errors: 14 of 30 requests (46.7%), the incumbent 1 of 280 requests (0.4%)",)
    slow = judged(a_window("v2", 50, ttft_ms=900), a_window("v1", 450), EffectiveSlo(ttft_p95_ms=500), over=True)
    assert slow.evidence[0].startswith("time to first token: p95 956 ms of 50, the SLO allows 500 ms, the incumbent's 107 ms of 450")


histograms = st.dictionaries(st.integers(0, len(BOUNDS_MS)), st.integers(1, 300), max_size=6).map(lambda counts: Histogram(counts=counts))
slos = st.builds(
    EffectiveSlo,
    ttft_p95_ms=st.none() | st.integers(1, 5000),
    latency_p95_ms=st.none() | st.integers(1, 50_000),
    error_rate=st.none() | st.floats(0, 1),
)


@st.composite
def windows(draw: st.DrawFn) -> TrackWindow:
    requests = draw(st.integers(0, 2000))
    return TrackWindow(
        track="v",
        requests=requests,
        errors=draw(st.integers(0, requests + 2)),
        aborts=draw(st.integers(0, requests + 2)),
        ttft=draw(histograms),
        latency=draw(histograms),
        gaps=draw(histograms),
    )


@given(window=windows(), slo=slos, over=st.booleans())
def test_two_that_do_the_same_are_never_told_apart(window: TrackWindow, slo: EffectiveSlo, over: bool) -> None:
    if slo != NO_SLO and min(window.requests, window.ttft.total, window.latency.total) < 20:
        return  # too few of the incumbent to excuse anybody by
    assert judged(window, window, slo, over=over).outcome is not S.FAILED


@given(new=windows(), old=windows(), slo=slos, over=st.booleans(), more=st.integers(0, 50), data=st.data())
def test_what_gets_worse_never_does_better(
    new: TrackWindow, old: TrackWindow, slo: EffectiveSlo, over: bool, more: int, data: st.DataObject
) -> None:
    if judged(new, old, slo, over=over).outcome is not S.FAILED:
        return
    worse = msgspec.structs.replace(
        new,
        errors=min(new.errors + more, max(new.requests, new.errors)),
        aborts=min(new.aborts + more, max(new.requests, new.aborts)),
        **{name: slower(getattr(new, name), data) for name in ("ttft", "latency", "gaps")},
    )
    assert judged(worse, old, slo, over=over).outcome is S.FAILED


def slower(histogram: Histogram, data: st.DataObject) -> Histogram:
    """Every time some cells later."""
    by = data.draw(st.integers(0, 30))
    counts: dict[int, int] = {}
    for cell, count in histogram.counts.items():
        later = min(cell + by, len(BOUNDS_MS))
        counts[later] = counts.get(later, 0) + count
    return Histogram(counts=counts)


@given(new=windows(), old=windows(), slo=slos)
def test_what_is_clear_early_is_clear_at_the_end(new: TrackWindow, old: TrackWindow, slo: EffectiveSlo) -> None:
    if judged(new, old, slo, over=False).outcome is S.FAILED:
        assert judged(new, old, slo, over=True).outcome is S.FAILED


def test_more_than_chance_explains() -> None:
    assert not exceeds(1, 30, 0.001, over=True)
    assert exceeds(4, 30, 0.001, over=True)
    assert not exceeds(5, 100, 0.05, over=True)
    assert exceeds(20, 100, 0.05, over=True)
    assert not exceeds(100, 100, 1.0, over=True)
    assert not is_more((2, 100), (0, 100), 0.01, over=True)
    assert is_more((20, 100), (0, 100), 0.01, over=True)
    assert not is_more((2000, 100_000), (1500, 100_000), 0.01, over=True), "half a point is nothing that anybody acts on"
