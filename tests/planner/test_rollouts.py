"""A rollout from step to step: what is held, judged, turned back, superseded, and what its record tells."""

from typing import Any

import msgspec
import pytest

from fleetform.domain.conditions import ConditionType, Reason, condition
from fleetform.domain.effective import EffectiveEndpoint, EffectiveSlo
from fleetform.domain.load import TrackWindow, Windows
from fleetform.domain.replica import FailureReason, ReplicaPhase
from fleetform.domain.rollout import RolloutPhase, StepOutcome
from fleetform.planner import gate, plan
from fleetform.planner.model import Plan, Reserve, Start, Stop
from tests.builders import a_window, effective_endpoint
from tests.planner.world import World

HELD: dict[str, Any] = {"steps": (10, 50, 100), "step_hold_s": 60}
GOOD = {"v1": a_window("", 900), "v2": a_window("", 100)}


def wish(weights: dict[str, int] | None = None, replicas: int = 1, **fields: Any) -> EffectiveEndpoint:
    return effective_endpoint(weights or {"v2": 100}, replicas, **{**HELD, **fields})


def served(replicas: int = 1) -> World:
    """A world in which v1 is ready."""
    world = World(wish({"v1": 100}, replicas))
    world.settle()
    assert world.status.ready
    return world


def begun(**fields: Any) -> World:
    """A world in which the first step of a rollout to v2 is held."""
    world = served()
    world.put(wish(**fields))
    world.settle()
    assert world.weights() == {"v1": 90, "v2": 10}
    return world


def started(plans: list[Plan]) -> list[object]:
    return [action for made in plans for action in made.actions if isinstance(action, Reserve | Start)]


def outcomes(world: World) -> list[tuple[int, StepOutcome]]:
    return [(step.percent, step.outcome) for step in world.records[-1].steps]


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


def test_a_hold_that_is_shorter_than_gateways_count_in_says_so() -> None:
    world = begun(step_hold_s=5)
    world.measured = {}
    world.pass_time(5)
    world.settle()
    step = world.records[-1].steps[0]
    assert step.outcome is StepOutcome.NOT_JUDGED
    assert step.evidence == ("a hold of 5 s is too short to be judged: gateways count in slices of 5 s, so it takes 10 s",)


def test_old_replicas_that_made_room_before_a_rollback_are_started_anew() -> None:
    world = World(wish({"v1": 100}, 3), quota=4)
    world.settle()
    world.put(wish(replicas=3))
    world.settle()
    assert (world.weights(), world.ready("v1"), world.ready("v2")) == ({"v1": 90, "v2": 10}, 2, 2), "the next step needs a second v2"
    world.measured = GOOD | {"v2": a_window("", 100, errors=40)}
    world.pass_time(5)
    world.step()
    assert (world.weights(), world.ready("v1")) == ({"v1": 100}, 2)
    world.settle()
    assert (world.ready("v1"), world.ready("v2")) == (3, 0)


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


def test_back_to_the_split_from_before_is_one_change_of_weights_and_no_engine_starts() -> None:
    world = begun()
    for _ in range(3):
        world.pass_time(60)
        world.settle()
    assert world.status.ready
    world.measured = {"v1": a_window("", 100, errors=100), "v2": a_window("", 900)}
    world.put(wish({"v1": 100, "v2": 0}))
    plans = [world.step()]
    assert world.weights() == {"v1": 100}
    plans += world.settle()
    assert not started(plans)
    assert world.status.ready, "whoever goes back is not held up, whatever the figures say"
    assert outcomes(world) == [(100, StepOutcome.NOT_JUDGED)]
    assert world.ready("v2") == 1, "what was left stays warm in its turn"


def test_back_in_the_middle_of_a_rollout_is_one_change_of_weights_too() -> None:
    world = begun()
    world.put(wish({"v1": 100, "v2": 0}))
    made = world.step()
    assert world.weights() == {"v1": 100}
    assert not started([made, *world.settle()])
    assert world.status.ready


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_to_take_a_canary_away_is_to_go_back_at_once(replicas: int) -> None:
    world = served(replicas)
    world.put(wish({"v1": 90, "v2": 10}, replicas, steps=(100,), step_hold_s=0))
    world.settle()
    world.put(wish({"v1": 100}, replicas))
    world.step()
    assert world.weights() == {"v1": 100}, "whether or not more replicas of it have to start"
    world.settle()
    assert world.ready("v1") == replicas


def test_to_go_back_from_an_even_split_waits_for_the_replicas_that_carry_it() -> None:
    world = served(4)
    world.put(wish({"v1": 50, "v2": 50}, 4, steps=(100,), step_hold_s=0, bake_s=0))
    world.settle()
    world.put(wish({"v1": 100}, 4))
    world.step()
    assert world.weights() == {"v1": 50, "v2": 50}
    world.settle()
    assert world.weights() == {"v1": 100}


def test_a_version_that_never_passed_its_gate_does_not_jump_because_it_is_warm() -> None:
    world = begun()
    world.put(wish({"v1": 100, "v2": 0}))
    world.settle()
    world.put(wish())
    world.settle()
    assert world.weights() == {"v1": 90, "v2": 10}


def test_a_version_that_gets_more_than_it_had_waits_for_the_replicas_that_carry_all_of_it() -> None:
    """Also what it had before the rollout: its replicas may have died since."""
    world = World(wish({"v1": 60, "v2": 40}, 10))
    world.settle()
    assert world.ready("v2") == 4
    for replica_id in [r.replica_id for r in world.rows.values() if r.track.startswith("v2.")][1:]:
        world.crash(replica_id)
    world.put(wish({"v1": 50, "v2": 50}, 10, steps=(10, 100)))
    seen = []
    for _ in range(40):
        world.step()
        seen.append((world.weights()["v2"], world.ready("v2")))
        world.pass_time(1)
    assert {weight for weight, _ in seen} == {40, 41}
    assert min(ready for weight, ready in seen if weight > 40) == 5


def test_to_promote_a_canary_goes_by_steps_and_is_judged() -> None:
    world = served()
    world.put(wish({"v1": 90, "v2": 10}, steps=(100,), step_hold_s=0))
    world.settle()
    world.put(wish({"v2": 100}))
    world.settle()
    assert world.weights() == {"v1": 81, "v2": 19}
    world.measured = GOOD | {"v2": a_window("", 200, errors=100)}
    world.pass_time(5)
    world.settle()
    assert world.weights() == {"v1": 90, "v2": 10}


def test_two_rollouts_on_one_endpoint_never_interleave() -> None:
    """The second supersedes the first at a step boundary, and starts from the split in force."""
    world = begun()
    world.put(wish({"v3": 100}))
    world.settle()
    assert world.weights() == {"v1": 81, "v2": 9, "v3": 10}
    first, second = world.records[-2:]
    assert (first.generation, first.phase, second.generation, second.phase) == (2, RolloutPhase.SUPERSEDED, 3, RolloutPhase.RUNNING)
    assert second.old == {"v1": 90, "v2": 10}
    assert first.steps[-1].outcome is StepOutcome.NOT_JUDGED
    assert first.ended_at == second.started_at


@pytest.mark.parametrize("steps_done", [0, 1, 2])
@pytest.mark.parametrize("replicas", [1, 4])
def test_a_rollout_that_superseded_another_is_turned_back_to_what_had_settled(steps_done: int, replicas: int) -> None:
    """Not to the split that it found: of the version in between nobody knows, and `live` never named it."""
    world = served(replicas)
    world.put(wish(replicas=replicas))
    world.settle()
    for _ in range(steps_done):
        world.pass_time(60)
        world.settle()
    assert world.weights() == [{"v1": 90, "v2": 10}, {"v1": 50, "v2": 50}, {"v2": 100}][steps_done]
    world.broken["v3"] = FailureReason.WRONG_MODEL
    world.put(wish({"v3": 100}, replicas))
    plans = []
    for _ in range(40):
        plans.append(world.step())
        assert world.ready() >= replicas
        world.pass_time(1)
    assert world.weights() == {"v1": 100}
    assert (world.status.phase, world.ready("v1")) == ("RolledBack", replicas)
    assert world.status.live is not None
    assert {name: v.weight for name, v in world.status.live.variants.items() if v.weight} == {"v1": 100}
    assert [(r.generation, r.phase) for r in world.records[-2:]] == [(2, RolloutPhase.SUPERSEDED), (3, RolloutPhase.ROLLED_BACK)]
    world.put(wish({"v4": 100}, replicas))
    world.settle()
    assert world.weights() == {"v1": 90, "v4": 10}


def test_a_limit_that_changes_in_the_middle_goes_on_with_the_step_that_is_held() -> None:
    world = begun()
    world.pass_time(30)
    world.put(wish(request_timeout_s=9))
    world.settle()
    assert world.weights() == {"v1": 90, "v2": 10}
    assert [r.phase for r in world.records[-2:]] == [RolloutPhase.SUPERSEDED, RolloutPhase.RUNNING]
    world.pass_time(30)
    world.settle()
    assert world.weights() == {"v1": 50, "v2": 50}
    assert [step.percent for step in world.records[-1].steps] == [10, 50]


def test_a_limit_that_changes_at_rest_is_no_rollout() -> None:
    world = served()
    before = list(world.records)
    world.put(wish({"v1": 100}, request_timeout_s=9))
    world.settle()
    assert world.records == before
    assert world.status.ready


def test_failed_starts_are_recorded_with_the_last_words() -> None:
    world = served()
    world.broken["v2"] = FailureReason.CRASHED
    world.put(wish())
    for _ in range(40):
        world.step()
        world.pass_time(1)
    record = world.records[-1]
    assert (record.phase, record.reason) == (RolloutPhase.ROLLED_BACK, "Crashed")
    assert "last words" in record.evidence
    assert record.steps == ()


def test_a_drain_waits_longer_than_the_longest_answer_may_take() -> None:
    """The drain deadline is never shorter than the time that max_tokens may take."""
    for limit_s, least in ((30, 300), (3000, 3000)):
        world = World(effective_endpoint(request_timeout_s=limit_s))
        world.settle()
        world.deleting = True
        stops = [action for made in world.settle() for action in made.actions if isinstance(action, Stop)]
        assert [stop.command.drain_timeout_s for stop in stops] == [least]


def test_an_endpoint_that_is_deleted_ends_its_rollout() -> None:
    world = begun()
    world.deleting = True
    world.settle()
    assert world.records[-1].phase is RolloutPhase.SUPERSEDED
    assert world.records[-1].reason == "Deleted"


def test_versions_of_one_variant_are_told_apart() -> None:
    world = served()
    variant = world.effective.variants["v1"]
    changed = msgspec.structs.replace(variant, engine_args={"max_num_seqs": "2"})
    world.put(msgspec.structs.replace(wish(), variants={"v1": changed}))
    world.settle()
    (step,) = world.records[-1].steps
    assert sorted(step.weights.values()) == [10, 90]
    assert all(name.startswith("v1") for name in step.weights)


def test_a_scale_down_never_takes_a_replica_that_a_rollout_just_made_ready() -> None:
    world = served(replicas=2)
    world.put(wish(replicas=2))
    world.settle()
    fresh = {i for i, row in world.rows.items() if row.model_version == "m:v2" and row.phase is ReplicaPhase.READY}
    assert fresh
    for _ in range(4):
        stopped = {action.command.replica_id for made in world.settle() for action in made.actions if isinstance(action, Stop)}
        assert not stopped & fresh
        world.pass_time(60)
    assert world.status.ready


def test_no_weight_moves_before_its_replicas_are_ready_and_no_hold_begins_before_the_acknowledgement() -> None:
    world = served()
    world.deaf = True
    world.put(wish())
    for _ in range(20):
        world.step()
    assert world.weights() == {"v1": 100}
    world.deaf = False
    world.settle()
    world.deaf = True
    world.pass_time(60)
    world.step()
    assert world.weights() == {"v1": 50, "v2": 50}
    world.pass_time(600)
    for _ in range(5):
        world.step()
    assert world.weights() == {"v1": 50, "v2": 50}
    assert world.records[-1].steps[-1].started_at is None
    world.deaf = False
    world.settle()
    assert world.weights() == {"v1": 50, "v2": 50}
    assert world.records[-1].steps[-1].started_at == world.now


def test_a_clock_that_is_set_back_makes_no_pause_and_no_hold_longer() -> None:
    """Each of them begins anew."""
    world = begun(bake_s=600)
    world.pass_time(-3600)
    world.settle()
    for split in ({"v1": 50, "v2": 50}, {"v2": 100}):
        world.pass_time(60)
        world.settle()
        assert world.weights() == split
    world.pass_time(60)
    world.settle()
    assert world.status.ready
    world.pass_time(-3600)
    world.settle()
    world.pass_time(600)
    world.settle()
    assert world.ready("v1") == 0
    (serving,) = world.rows
    world.crash(serving)
    world.step()
    world.pass_time(-3600)
    world.settle()
    world.pass_time(1)
    world.settle()
    assert world.ready("v2") == 1
