"""How traffic moves: what a change of weights waits for, and what it leaves alone."""

from fleetform.domain.replica import FailureReason, ReplicaPhase
from fleetform.planner.model import Reserve, Start, Stop
from tests.builders import effective_endpoint
from tests.planner.situations import served
from tests.planner.world import World

P = ReplicaPhase


def test_weights_move_by_steps_and_each_is_held() -> None:
    world = served(replicas=2)
    world.put(effective_endpoint({"v2": 100}, replicas=2, steps=(10, 50, 100), step_hold_s=60))
    seen = []
    for _ in range(4):
        world.settle()
        seen.append(world.weights())
        world.pass_time(61)
    assert seen == [{"v1": 90, "v2": 10}, {"v1": 50, "v2": 50}, {"v2": 100}, {"v2": 100}]


def test_a_step_waits_for_the_replicas_it_is_for() -> None:
    world = served(replicas=2)
    world.broken["v2"] = FailureReason.CACHE_FULL
    world.put(effective_endpoint({"v1": 50, "v2": 50}, replicas=2))
    world.settle()
    assert world.weights() == {"v1": 100}


def test_a_change_of_weights_alone_is_routed_by_the_first_plan() -> None:
    world = served(weights={"v1": 90, "v2": 10}, replicas=2)
    world.put(effective_endpoint({"v1": 10, "v2": 90}, replicas=2))
    world.step()
    assert world.weights() == {"v1": 10, "v2": 90}


def test_a_canary_beside_one_replica_starts_one_engine_and_no_more() -> None:
    world = served(weights={"v1": 100})
    world.put(effective_endpoint({"v1": 90, "v2": 10}))
    started = [action for made in world.settle() for action in made.actions if isinstance(action, Reserve)]
    assert [action.replica.model_version for action in started] == ["m:v2"]
    assert (world.ready("v1"), world.ready("v2")) == (1, 1)


def test_a_new_generation_during_a_rollout_starts_from_the_split_in_force() -> None:
    world = served()
    world.put(effective_endpoint({"v2": 100}, steps=(10, 100), step_hold_s=600))
    world.settle()
    assert world.weights() == {"v1": 90, "v2": 10}
    world.put(effective_endpoint({"v3": 100}, steps=(50, 100), step_hold_s=600))
    world.settle()
    assert world.weights() == {"v1": 45, "v2": 5, "v3": 50}


def test_back_to_a_warm_version_is_one_change_of_weights() -> None:
    world = served()
    world.put(effective_endpoint({"v2": 100}))
    world.settle()
    world.put(effective_endpoint({"v1": 100, "v2": 0}))
    world.step()
    assert world.weights() == {"v1": 100}
    assert not [action for action in world.settle()[0].actions if isinstance(action, Reserve | Start)]


def test_a_replica_is_stopped_only_after_every_proxy_sends_it_nothing_new() -> None:
    world = served(replicas=2)
    world.deaf = True
    world.put(effective_endpoint(replicas=1))
    for _ in range(5):
        assert not [action for action in world.step().actions if isinstance(action, Stop)]
    world.deaf = False
    world.step()
    assert [action for action in world.step().actions if isinstance(action, Stop)]


def test_a_replica_that_serves_is_not_ready_before_the_proxy_has_it() -> None:
    world = World()
    world.deaf = True
    for _ in range(8):
        world.step()
    assert [row.phase for row in world.rows.values()] == [P.STARTING]
    world.deaf = False
    world.settle()
    assert world.ready() == 1
