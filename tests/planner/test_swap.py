"""Old replicas that make room for new ones, where there is none beside them."""

from typing import Any

import msgspec
import pytest

from fleetform.domain.conditions import ConditionType, Reason, condition
from fleetform.domain.replica import FailureReason, ReplicaPhase
from fleetform.domain.rollout import RolloutPhase, StartTimes
from fleetform.planner.model import BlockReason, Plan, Stop
from tests.builders import CPU_SHAPE, GPU_SHAPE, a_host, a_window, effective_endpoint
from tests.planner.world import World

GPU: dict[str, Any] = {"instance_type": "gpu-a10-1x", "steps": (1, 10, 50, 100)}


def full(replicas: int, *, strategy: str = "swap", room: int = 0, **fields: Any) -> World:
    """A world whose only host is full with v1, but for room replicas; v2 is declared."""
    world = World(effective_endpoint(replicas=replicas, **GPU), hosts=(a_host(gpus=replicas + room),))
    world.shapes["gpu-a10-1x"] = GPU_SHAPE
    world.settle()
    assert world.status.ready
    world.put(effective_endpoint({"v2": 100}, replicas, strategy=strategy, **{**GPU, **fields}))
    return world


def events(plans: list[Plan], reason: str) -> list[str]:
    return [event.message for made in plans for event in made.events if event.reason == reason]


def test_one_replica_makes_room_and_the_pause_is_predicted() -> None:
    world = full(1)
    world.start_times = {"v2": StartTimes(p50_s=30, p95_s=40.2, count=5)}
    plans = world.settle()
    assert world.status.ready
    assert world.weights() == {"v2": 100}
    record = world.records[-1]
    assert (record.strategy, record.pause_s, record.phase) == ("swap", 41, RolloutPhase.COMPLETED)
    assert [step.percent for step in record.steps] == [100], "with nothing left there is nothing to step from"
    (told,) = events(plans, "SwapStarted")
    assert "for about 41 s" in told


def test_how_long_a_first_start_takes_is_not_made_up() -> None:
    world = full(1)
    (told,) = events(world.settle(), "SwapStarted")
    assert "not known yet" in told
    assert world.records[-1].pause_s is None


@pytest.mark.parametrize("replicas", [2, 3, 4])
def test_several_leave_one_at_a_time_and_all_but_one_serve(replicas: int) -> None:
    world = full(replicas)
    lowest, plans = replicas, []
    for _ in range(120):
        plans.append(world.step())
        lowest = min(lowest, world.ready())
        serving = {row.track for row in world.rows.values() if row.phase is ReplicaPhase.READY}
        assert world.published is not None
        assert world.published.route is not None
        for track in world.published.route.tracks:
            assert track.weight == 0 or track.track in serving
    assert world.status.ready
    assert world.weights() == {"v2": 100}
    assert lowest == replicas - 1
    assert (world.records[-1].strategy, world.records[-1].pause_s) == ("swap", 0)
    assert world.ready("v2") == replicas


def test_with_room_beside_them_nothing_has_to_leave() -> None:
    world = full(1, room=1)
    plans = world.settle()
    assert world.status.ready
    assert world.records[-1].strategy == "surge"
    assert events(plans, "SwapStarted") == []
    assert world.ready("v1") == 1, "the old one stays warm"


def test_a_surge_without_room_stays_blocked() -> None:
    world = full(1, strategy="surge")
    made = world.settle()[-1]
    assert BlockReason.NO_SURGE_CAPACITY in [blocked.reason for blocked in made.blocked]
    assert world.weights() == {"v1": 100}
    assert world.ready("v1") == 1


def test_sigterm_before_ack_never_happens_in_a_swap() -> None:
    """The old replica is told to stop only after every proxy has it as draining."""
    world = full(1)
    world.deaf = True
    for _ in range(8):
        assert not [action for action in world.step().actions if isinstance(action, Stop)]
    assert [row.phase for row in world.rows.values()] == [ReplicaPhase.DRAINING]
    world.deaf = False
    world.settle()
    assert world.weights() == {"v2": 100}


def test_a_start_that_fails_in_a_swap_brings_the_old_one_back_at_once() -> None:
    world = full(1)
    world.broken["v2"] = FailureReason.CRASHED
    for _ in range(40):
        world.step()
    assert world.ready("v1") == 1
    assert world.weights() == {"v1": 100}
    assert world.status.rejected is not None
    assert world.status.rejected.reason == FailureReason.CRASHED
    assert world.records[-1].phase is RolloutPhase.ROLLED_BACK
    assert sum(1 for replica_id in world.born if replica_id) == 3, "v1, one try of v2, v1 again"


def test_while_others_serve_a_failing_start_is_tried_again_and_then_all_old_ones_are_back() -> None:
    world = full(3)
    world.broken["v2"] = FailureReason.CRASHED
    for _ in range(60):
        world.step()
        world.pass_time(1)
        assert world.ready() >= 2
    assert world.ready("v1") == 3
    assert world.status.rejected is not None


def test_a_swapped_version_that_does_worse_is_turned_back_too() -> None:
    world = full(1, step_hold_s=60)
    world.measured = {"v1": a_window("", 900), "v2": a_window("", 100, errors=60)}
    for _ in range(60):
        world.step()
        world.pass_time(1)
    assert world.status.rejected is not None
    assert world.status.rejected.reason == "TooManyErrors"
    assert world.weights() == {"v1": 100}
    assert world.ready("v1") == 1


def test_nothing_leaves_for_what_would_not_fit_in_its_place() -> None:
    world = World(effective_endpoint(), hosts=(a_host(),), shape=CPU_SHAPE)
    world.shapes["gpu-a10-1x"] = GPU_SHAPE
    world.settle()
    world.put(effective_endpoint({"v2": 100}, instance_type="gpu-a10-1x", strategy="swap"))
    world.settle()
    assert world.ready("v1") == 1
    assert world.weights() == {"v1": 100}


def test_a_full_quota_is_no_room_either() -> None:
    world = World(effective_endpoint(), quota=1)
    world.settle()
    world.put(effective_endpoint({"v2": 100}, strategy="swap"))
    world.settle()
    assert world.status.ready
    assert world.weights() == {"v2": 100}
    assert world.records[-1].strategy == "swap"


def test_while_requests_are_held_the_status_says_why_and_for_how_long() -> None:
    world = full(1)
    world.start_times = {"v2": StartTimes(p50_s=30, p95_s=40, count=5)}
    said = []
    for _ in range(20):
        world.step()
        progressing = condition(world.status.conditions, ConditionType.PROGRESSING)
        assert progressing is not None
        if world.ready() == 0:
            said.append((progressing.reason, progressing.message))
    assert said
    assert all("for about 40 s" in message for _, message in said), said
    assert {reason for reason, _ in said} <= {Reason.PLACING, Reason.STARTING, Reason.FETCHING, Reason.DRAINING}


def test_once_the_swapped_version_has_traffic_nothing_is_said_of_held_requests() -> None:
    world = full(1)
    for _ in range(20):
        world.step()
        progressing = condition(world.status.conditions, ConditionType.PROGRESSING)
        assert progressing is not None
        if world.ready() and "v2" in world.weights():
            assert "requests are held" not in progressing.message
    assert world.weights() == {"v2": 100}


def test_none_leaves_in_vain_where_the_quota_of_another_instance_type_is_full() -> None:
    """The room that it gives back is of its own type."""
    scaled = {"max_replicas": 5}
    world = World(msgspec.structs.replace(effective_endpoint(), **scaled), hosts=(a_host(memory_mib=2 * CPU_SHAPE.memory_mib),))
    world.shapes["cpu-other"] = CPU_SHAPE
    world.settle()
    world.scale(2)
    world.settle()
    world.quota = 1
    world.put(msgspec.structs.replace(effective_endpoint(instance_type="cpu-other", strategy="swap"), **scaled))
    for _ in range(40):
        last = world.step()
        world.pass_time(1)
        assert world.ready() >= 1
    assert (world.held("cpu-small"), world.held("cpu-other")) == (1, 1)
    assert BlockReason.QUOTA_EXHAUSTED in [blocked.reason for blocked in last.blocked]
    assert len([r for r in world.rows.values() if r.phase is ReplicaPhase.READY]) == 2
