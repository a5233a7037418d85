"""The way back to a split that was in force before, and what only looks like it."""

import pytest

from fleetform.domain.replica import FailureReason
from fleetform.domain.rollout import RolloutPhase, StepOutcome
from tests.builders import a_window
from tests.planner.moving import GOOD, begun, outcomes, served, started, wish
from tests.planner.world import World


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


def test_to_stop_at_the_split_that_is_in_force_holds_no_step() -> None:
    """No version gets more than it has, so that there is nothing to judge."""
    world = begun()
    world.put(wish({"v1": 90, "v2": 10}, replicas=2))
    plans = world.settle()
    assert world.status.ready
    assert world.weights() == {"v1": 90, "v2": 10}
    assert not [event for made in plans for event in made.events if event.kind == "Warning"]
    assert world.records[-1].phase is RolloutPhase.COMPLETED
    assert [step.evidence for step in world.records[-1].steps] == [("the split stays as it is",)]
