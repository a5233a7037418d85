"""The planner's decisions about what may run and what goes, one situation each."""

from collections.abc import Callable

import pytest

from fleetform.domain.conditions import ConditionType, Reason
from fleetform.domain.machine import Shape
from fleetform.domain.replica import ReplicaPhase
from fleetform.planner.model import BlockReason, Drop, Forget, Move, Stop
from tests.builders import GPU_SHAPE, a_host, effective_endpoint
from tests.planner.situations import blocked, kinds, reason, served
from tests.planner.world import World, a_version

P = ReplicaPhase


def new() -> World:
    return World(effective_endpoint(replicas=2))


def unverified() -> World:
    world = World()
    world.versions["m:v1"] = a_version("v1", verified=None)
    return world


def refused() -> World:
    world = World()
    world.versions["m:v1"] = a_version("v1", verified=False)
    return world


def without_type() -> World:
    world = World()
    world.shapes.clear()
    return world


def without_host() -> World:
    return World(hosts=())


def too_large() -> World:
    return World(shape=Shape(cpu_millis=1, memory_mib=10**9))


def full_host() -> World:
    world = World(effective_endpoint(replicas=3, instance_type="gpu-a10-1x"), hosts=(a_host(gpus=2),))
    world.shapes["gpu-a10-1x"] = GPU_SHAPE
    return world


@pytest.mark.parametrize(
    ("situation", "actions", "waits", "admitted"),
    [
        (new, ["Reserve", "Reserve", "PublishRoute"], BlockReason.PROXY_ACK, Reason.ADMITTED),
        (unverified, ["PublishRoute"], BlockReason.VERSION_NOT_VERIFIED, Reason.VERSION_NOT_VERIFIED),
        (refused, ["PublishRoute"], BlockReason.VERSION_REFUSED, Reason.VERSION_NOT_VERIFIED),
        (without_type, ["PublishRoute"], BlockReason.UNKNOWN_INSTANCE_TYPE, Reason.NO_CAPACITY),
        (without_host, ["PublishRoute"], BlockReason.NO_CAPACITY, Reason.NO_CAPACITY),
        (too_large, ["PublishRoute"], BlockReason.MODEL_DOES_NOT_FIT, Reason.NO_CAPACITY),
        (full_host, ["Reserve", "Reserve", "PublishRoute"], BlockReason.NO_CAPACITY, Reason.NO_CAPACITY),
    ],
)
def test_the_first_plan(situation: Callable[[], World], actions: list[str], waits: BlockReason, admitted: Reason) -> None:
    world = situation()
    made = world.step()
    assert kinds(made) == actions
    assert blocked(made, waits).message
    assert reason(world, ConditionType.ADMITTED) is admitted


def test_a_booked_floor_is_reserved_though_the_quota_is_otherwise_used_up() -> None:
    world = World(quota=2, others=1)
    assert "Reserve" in kinds(world.step())


def test_without_quota_nothing_is_reserved_beyond_the_floor_and_the_figures_are_told() -> None:
    world = served()
    world.quota, world.others = 3, 2
    world.put(effective_endpoint({"v2": 100}))
    made = world.step()
    assert "Reserve" not in kinds(made)
    assert "is 3 replicas, 3 of them booked" in blocked(made, BlockReason.QUOTA_EXHAUSTED).message
    assert reason(world, ConditionType.ADMITTED) is Reason.QUOTA_EXHAUSTED
    assert reason(world, ConditionType.READY) is Reason.SERVING
    assert world.weights() == {"v1": 100}


def test_without_room_for_a_surge_the_old_version_serves_on() -> None:
    world = World(effective_endpoint(instance_type="gpu-a10-1x"), hosts=(a_host(gpus=1),))
    world.shapes["gpu-a10-1x"] = GPU_SHAPE
    world.settle()
    world.put(effective_endpoint({"v2": 100}, instance_type="gpu-a10-1x"))
    made = world.settle()[-1]
    assert blocked(made, BlockReason.NO_SURGE_CAPACITY)
    assert reason(world, ConditionType.ADMITTED) is Reason.NO_CAPACITY
    assert world.weights() == {"v1": 100}
    assert world.status.live is not None
    assert world.status.live.generation == 1


def test_one_replica_of_room_is_enough_to_exchange_three() -> None:
    world = World(effective_endpoint(replicas=3, instance_type="gpu-a10-1x"), hosts=(a_host(gpus=4),))
    world.shapes["gpu-a10-1x"] = GPU_SHAPE
    world.settle()
    world.put(effective_endpoint({"v2": 100}, replicas=3, instance_type="gpu-a10-1x", steps=(1, 10, 50, 100)))
    lowest = 3
    for _ in range(60):
        world.step()
        lowest = min(lowest, world.ready())
    assert world.status.ready
    assert world.weights() == {"v2": 100}
    assert lowest == 3


def test_deleting_drains_stops_releases_and_buries() -> None:
    world = served(replicas=2)
    world.deleting = True
    done = [action for made in world.settle() for action in made.actions]
    order = [next(i for i, action in enumerate(done) if isinstance(action, kind)) for kind in (Move, Stop, Drop, Forget)]
    assert order == sorted(order)
    assert world.buried
    assert not world.rows
    assert not world.reservations
    assert world.booked == 0


def test_deletion_wins_over_a_start_that_is_on_its_way() -> None:
    world = World()
    for _ in range(3):
        world.step()
    world.deleting = True
    world.settle()
    assert world.buried
    assert not world.seen


def test_a_lower_floor_is_booked_once_the_replicas_are_gone() -> None:
    world = served(replicas=3)
    world.put(effective_endpoint(replicas=1))
    world.settle()
    assert (len(world.rows), world.booked) == (1, 1)


def test_a_deleted_version_ends_its_bake() -> None:
    world = served()
    world.put(effective_endpoint({"v2": 100}))
    world.settle()
    assert world.ready("v1") == 1
    del world.versions["m:v1"]
    world.settle()
    assert world.ready("v1") == 0
    assert world.weights() == {"v2": 100}


def test_another_instance_type_is_another_track() -> None:
    world = served()
    world.shapes["gpu-a10-1x"] = GPU_SHAPE
    world.hosts = (a_host(gpus=1),)
    world.put(effective_endpoint(instance_type="gpu-a10-1x"))
    world.settle()
    assert world.status.ready
    assert world.status.live is not None
    assert world.status.live.instance_type == "gpu-a10-1x"


def test_a_quota_holds_for_the_instance_type_that_an_endpoint_leaves_too() -> None:
    """The floor that is booked of the new type is none of the old one, of which others have taken what had become free."""
    world = served(replicas=2)
    world.shapes["gpu-a10-1x"] = GPU_SHAPE
    world.hosts = (a_host(gpus=4),)
    old = list(world.rows)
    world.put(effective_endpoint(replicas=2, instance_type="gpu-a10-1x", steps=(10, 100), step_hold_s=60))
    world.settle()
    for replica_id in old:
        world.crash(replica_id)
    world.quotas["cpu-small"] = 0
    world.settle()
    world.pass_time(10)
    last = world.settle()[-1]
    assert world.held("cpu-small") == 0
    (blocked,) = [b for b in last.blocked if b.reason is BlockReason.QUOTA_EXHAUSTED]
    assert "for cpu-small" in blocked.message
    world.quotas["cpu-small"] = 1
    world.settle()
    assert world.held("cpu-small") == 1


def test_a_mended_instance_type_lets_in_what_had_no_room_and_moves_nothing_that_runs() -> None:
    world = too_large()
    assert not world.settle()[-1].status.ready
    world.shapes["cpu-small"] = Shape(cpu_millis=500, memory_mib=512)
    world.settle()
    assert world.status.ready
    world.shapes["cpu-small"] = Shape(cpu_millis=1000, memory_mib=1024)
    assert [made for made in world.settle() if made.actions] == []


def test_limits_change_the_route_and_start_nothing() -> None:
    world = served()
    world.put(effective_endpoint(request_timeout_s=5))
    done = {type(action).__name__ for made in world.settle() for action in made.actions}
    assert done == {"PublishRoute"}
    assert world.status.ready
