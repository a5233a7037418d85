"""The gate of a step: what is judged, by which figures, and what follows from it."""

import msgspec
import pytest

from fleetform.domain.conditions import ConditionType, Reason, condition
from fleetform.domain.effective import EffectiveSlo
from fleetform.domain.load import TrackWindow, Windows
from fleetform.domain.rollout import RolloutPhase, StepOutcome
from fleetform.planner import gate, plan
from tests.builders import a_window
from tests.planner.moving import GOOD, begun, outcomes, served, started, wish


def test_every_step_is_held_and_passed_and_the_last_one_too() -> None:
    world = begun()
    world.measured = GOOD
    for weights in ({"v1": 50, "v2": 50}, {"v2": 100}):
        world.pass_time(59)
        world.settle()
        assert world.weights() != weights
        world.pass_time(1)
        world.settle()
        assert world.weights() == weights
        assert not world.status.ready
    world.pass_time(60)
    world.settle()
    assert world.status.ready
    assert outcomes(world) == [(10, StepOutcome.PASSED), (50, StepOutcome.PASSED), (100, StepOutcome.PASSED)]
    record = world.records[-1]
    assert (record.phase, record.generation, record.old, record.new) == (RolloutPhase.COMPLETED, 2, {"v1": 100}, {"v2": 100})
    assert record.ended_at == world.now
    assert [step.weights for step in record.steps] == [{"v1": 90, "v2": 10}, {"v1": 50, "v2": 50}, {"v2": 100}]
    assert all(step.started_at and step.ended_at and step.evidence for step in record.steps)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (a_window("", 100, errors=40), "TooManyErrors"),
        (a_window("", 100, aborts=60), "TooManyAborts"),
        (a_window("", 100, ttft_ms=900), "SlowFirstByte"),
        (a_window("", 100, gap_ms=300), "SlowTokens"),
    ],
)
def test_a_version_that_does_worse_is_turned_back_at_once_by_one_change_of_weights(bad: TrackWindow, reason: str) -> None:
    world = begun()
    world.measured = GOOD | {"v2": bad}
    world.pass_time(5)
    made = world.step()
    assert world.weights() == {"v1": 100}
    assert world.status.rejected is not None
    assert (world.status.rejected.generation, world.status.rejected.reason) == (2, reason)
    assert world.status.rejected.versions == ("m:v2",)
    assert world.status.rejected.evidence[0].startswith("v2: ")
    ready = condition(world.status.conditions, ConditionType.READY)
    assert ready is not None
    assert (ready.status, ready.reason) == (False, Reason.ROLLED_BACK)
    told = next(event for event in made.events if event.reason == "StepFailed")
    assert told.kind == "Warning"
    assert world.status.rejected.evidence[0] in told.message
    assert not started([made, *world.settle()])
    record = world.records[-1]
    assert (record.phase, record.reason, record.evidence) == (RolloutPhase.ROLLED_BACK, reason, world.status.rejected.evidence)
    assert record.steps[-1].outcome is StepOutcome.FAILED
    assert world.status.live is not None
    assert world.status.live.generation == 1


def test_a_version_that_turns_bad_at_the_last_step_is_compared_with_what_its_incumbent_did_before() -> None:
    world = begun()
    world.measured = GOOD
    for _ in range(2):
        world.pass_time(60)
        world.settle()
    assert world.weights() == {"v2": 100}
    world.measured = {"v2": a_window("", 1000, errors=400)}
    world.pass_time(5)
    plans = world.settle()
    assert world.weights() == {"v1": 100}
    assert not started(plans), "the old replicas were kept warm"
    assert world.status.rejected is not None
    assert world.status.rejected.evidence[-1] == "v2: the incumbent's figures are of the step before"


def test_what_nothing_was_compared_with_is_not_said_to_be_of_the_step_before() -> None:
    world = begun()
    world.measured = GOOD
    for _ in range(2):
        world.pass_time(60)
        world.settle()
    world.measured = {"v2": a_window("", 2)}
    world.pass_time(60)
    world.settle()
    assert world.status.ready
    assert world.records[-1].steps[-1].evidence == ("v2: 2 requests, too few to judge by",)


def test_a_rollout_of_one_step_is_compared_with_the_time_before_it() -> None:
    world = served()
    world.measured = GOOD
    world.put(wish(steps=(100,)))
    world.settle()
    assert world.weights() == {"v2": 100}
    assert not world.status.ready
    world.measured = {"v2": a_window("", 1000, errors=400)}
    world.pass_time(5)
    world.settle()
    assert world.weights() == {"v1": 100}
    assert world.status.rejected is not None


def test_too_few_requests_go_on_and_say_so() -> None:
    world = begun()
    world.measured = {"v1": a_window("", 3), "v2": a_window("", 2)}
    world.pass_time(60)
    told = [event for made in world.settle() for event in made.events if event.reason == "StepNotJudged"]
    assert world.weights() == {"v1": 50, "v2": 50}
    assert [event.kind for event in told] == ["Warning"]
    assert "2 requests, too few to judge by" in told[0].message
    assert outcomes(world)[0] == (10, StepOutcome.NOT_JUDGED)


def test_without_figures_a_step_is_not_taken_for_a_good_one() -> None:
    world = begun()
    world.pass_time(60)
    world.settle()
    assert world.weights() == {"v1": 50, "v2": 50}
    assert outcomes(world)[0] == (10, StepOutcome.NOT_JUDGED)
    assert world.records[-1].steps[0].evidence == (gate.NO_FIGURES,)


def test_with_an_slo_a_step_without_figures_is_held_once_more() -> None:
    world = begun(slo=EffectiveSlo(ttft_p95_ms=500))
    world.pass_time(60)
    made = world.settle()[-1]
    assert world.weights() == {"v1": 90, "v2": 10}
    assert made.next_at is not None
    assert (made.next_at - world.now).total_seconds() == gate.LOOK_S
    world.pass_time(60)
    world.settle()
    assert world.weights() == {"v1": 50, "v2": 50}
    assert outcomes(world)[0] == (10, StepOutcome.NOT_JUDGED)


def test_a_gateway_that_has_still_to_read_what_happened_tells_no_figures() -> None:
    """Its worker was started anew: of the time of the step it knows nothing yet, which is not that nobody came."""
    world = begun(slo=EffectiveSlo(error_rate=0.01))
    world.pass_time(60)
    unread = Windows(since=world.now, until=world.now)
    made = plan(world.desired, msgspec.structs.replace(world.observed, windows=unread), world.now)
    assert made.rollout is not None
    assert made.rollout.record is not None
    assert [(step.percent, step.outcome) for step in made.rollout.record.steps] == [(10, StepOutcome.RUNNING)]
    world.measured = GOOD | {"v2": a_window("", 100, errors=40)}
    world.settle()
    assert world.records[-1].phase is RolloutPhase.ROLLED_BACK


def test_an_slo_turns_back_what_no_incumbent_can_be_compared_with() -> None:
    world = begun(slo=EffectiveSlo(error_rate=0.01))
    world.measured = {"v1": a_window("", 2), "v2": a_window("", 200, errors=30)}
    world.pass_time(5)
    world.step()
    assert world.status.rejected is not None
    assert "the SLO allows 1.00%" in world.status.rejected.evidence[0]


def test_the_figures_are_looked_at_every_few_seconds_of_a_hold() -> None:
    world = begun()
    world.measured = GOOD
    made = world.step()
    assert made.next_at is not None
    assert (made.next_at - world.now).total_seconds() == gate.LOOK_S
    assert gate.watched_since(world.rollout, world.effective) == world.now
    step = world.records[-1].steps[-1]
    assert step.outcome is StepOutcome.RUNNING
    assert step.evidence, "what is known so far is told"
    world.pass_time(58)
    made = world.step()
    assert made.next_at is not None
    assert (made.next_at - world.now).total_seconds() == 2, "not later than the end of the hold"


def test_without_a_hold_nothing_is_judged_and_nothing_waits() -> None:
    world = served()
    world.measured = GOOD | {"v2": a_window("", 100, errors=100)}
    world.put(wish(step_hold_s=0))
    told = [event for made in world.settle() for event in made.events if event.reason == "StepNotJudged"]
    assert {event.kind for event in told} == {"Normal"}, "it is what the spec asks for"
    assert world.status.ready
    assert outcomes(world) == [(10, StepOutcome.NOT_JUDGED), (50, StepOutcome.NOT_JUDGED), (100, StepOutcome.NOT_JUDGED)]


def test_a_settled_endpoint_asks_for_no_figures() -> None:
    world = served()
    assert gate.watched_since(world.rollout, world.effective) is None


def test_the_first_version_has_a_record_and_no_verdict() -> None:
    world = served()
    record = world.records[-1]
    assert (record.phase, record.old, record.new) == (RolloutPhase.COMPLETED, {}, {"v1": 100})
    assert outcomes(world) == [(100, StepOutcome.NOT_JUDGED)]
