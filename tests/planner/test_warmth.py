"""Who may sleep, who is woken first, and who is ended: as the planner sees it."""

from typing import Any

import msgspec
import pytest

from fleetform.domain.machine import Asleep, Capacity, HostCapacity, Shape
from fleetform.domain.replica import ReplicaPhase
from fleetform.domain.scaling import ScalingReason
from fleetform.planner import placement
from fleetform.planner.model import Bury, Evict, Stop
from tests.builders import CPU_SHAPE, GPU_SHAPE, a_host, effective_endpoint
from tests.planner.world import World

P = ReplicaPhase
TYPE = "gpu-a10-1x"


def a_world(replicas: int = 2, shape: Shape = GPU_SHAPE, hosts: tuple[HostCapacity, ...] = (a_host(gpus=4),), **fields: Any) -> World:
    """An endpoint that serves with so many replicas, from none to three by its load."""
    effective = effective_endpoint(replicas=0, instance_type=TYPE, **fields)
    world = World(msgspec.structs.replace(effective, max_replicas=4), hosts=hosts)
    world.shapes[TYPE] = shape
    world.scale(replicas)
    world.settle()
    assert world.ready() == replicas
    return world


def stops(world: World) -> list[bool]:
    """Whether each replica that is stopped now may sleep."""
    return [action.command.keep_warm for made in world.settle() for action in made.actions if isinstance(action, Stop)]


def asleep(world: World) -> list[str]:
    return sorted(engine.engine_id for sleepers in world.sleepers.values() for engine in sleepers.shown())


def test_fewer_replicas_leave_engines_that_sleep_and_more_wake_them_where_they_are() -> None:
    world = a_world(2)
    places = {row.members[0] for row in world.rows.values()}
    world.scale(0, ScalingReason.IDLE)
    assert stops(world) == [True, True]
    assert asleep(world) == sorted(world.born)
    world.scale(2)
    world.settle()
    assert asleep(world) == []
    assert {row.members[0] for row in world.rows.values()} == places
    assert {engine.engine_id for i, engine in world.engines.items() if i in world.rows} == set(world.born[:2])


def test_a_replica_without_a_device_may_be_kept_too() -> None:
    """On disk, as its host knows; the one here does not."""
    world = a_world(2, shape=CPU_SHAPE)
    world.scale(1)
    assert stops(world) == [True]
    assert asleep(world) == []


def test_an_old_version_is_not_kept_after_its_bake() -> None:
    world = a_world(1, bake_s=60)
    world.put(effective_endpoint({"v2": 100}, 1, instance_type=TYPE, bake_s=60))
    world.settle()
    world.pass_time(61)
    assert stops(world) == [False]


def test_a_worn_replica_is_not_kept() -> None:
    world = a_world(2)
    worn, fresh = sorted(world.rows)
    world.worn[worn] = "it has answered enough"
    world.scale(0, ScalingReason.IDLE)
    world.settle()
    assert asleep(world) == [fresh]


def test_an_engine_whose_requests_are_counted_is_not_kept() -> None:
    """Woken, it would begin at none."""
    world = a_world(1)
    world.effective = msgspec.structs.replace(world.effective, max_requests_per_replica=1000)
    world.scale(0, ScalingReason.IDLE)
    assert stops(world) == [False]


def test_a_replica_that_hangs_while_it_drains_is_not_kept() -> None:
    world = a_world(1)
    world.scale(0, ScalingReason.IDLE)
    world.step()
    (row,) = world.rows.values()
    assert (row.phase, row.keep_warm) == (P.DRAINING, True)
    world.hang(row.replica_id)
    assert stops(world) == [False]


def test_deletion_while_a_replica_drains_ends_its_engine() -> None:
    world = a_world(1)
    world.scale(0, ScalingReason.IDLE)
    world.step()
    world.deleting = True
    assert stops(world) == [False]
    assert world.buried


def test_a_deletion_waits_for_what_sleeps() -> None:
    world = a_world(1)
    world.scale(0, ScalingReason.IDLE)
    world.settle()
    world.deleting = True
    world.away.add("host-1")
    world.settle()
    assert asleep(world) != []
    world.away.clear()
    plans = world.settle()
    assert any(isinstance(action, Evict) for made in plans for action in made.actions)
    assert any(isinstance(action, Bury) for action in plans[-1].actions), "and not before"
    assert asleep(world) == []


def test_what_sleeps_of_a_version_that_is_replaced_is_kept_through_its_bake_and_then_ended() -> None:
    """Back to it is one change of weights away until then."""
    world = a_world(2, bake_s=60)
    world.scale(1)
    world.settle()
    kept = asleep(world)
    assert len(kept) == 1
    world.put(effective_endpoint({"v2": 100}, 1, instance_type=TYPE, bake_s=60))
    world.settle()
    assert world.ready("v2") == 1
    assert asleep(world) == kept
    world.pass_time(61)
    world.settle()
    assert asleep(world) == []


def test_a_second_end_of_the_same_engine_is_another_command() -> None:
    """A host answers a command that it has seen before without doing it again."""
    world = a_world(1)
    ids = []
    for _ in range(2):
        world.scale(0, ScalingReason.IDLE)
        world.settle()
        world.deleting = True
        ids += [action.command_id for action in world.step().actions if isinstance(action, Evict)]
        world.deleting = False
        sleeper = next(iter(world.engines.values()))
        world.sleepers["host-1"].put(sleeper, 1)
        world.scale(1)
        world.settle()
    assert len(ids) == len(set(ids)) == 2


def sleepers(*devices: tuple[str, ...], host: str = "host-1") -> tuple[Asleep, ...]:
    return tuple(Asleep(host=host, endpoint_uid="e1", track_id="v1.0", devices=each) for each in devices)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ((), ("host-2", "GPU-host-2-0")),
        (sleepers(("GPU-host-1-2",)), ("host-1", "GPU-host-1-2")),
        (sleepers(("GPU-host-1-2", "GPU-host-1-1")), ("host-2", "GPU-host-2-0")),
        (sleepers(("GPU-host-1-9",)), ("host-2", "GPU-host-2-0")),
        (sleepers(("GPU-host-1-2",), host="host-9"), ("host-2", "GPU-host-2-0")),
    ],
)
def test_a_replica_goes_where_it_is_woken_before_anything_else(own: tuple[Asleep, ...], expected: tuple[str, str]) -> None:
    """Else host-2 would be filled first; an engine on other devices, or on another number of them, is of no use."""
    free = placement.rooms(a_capacity(a_host("host-1", gpus=3), a_host("host-2", gpus=1)), frozenset())
    member = placement.place(free, GPU_SHAPE, own)
    assert member is not None
    assert (member.host, *member.devices) == expected


def test_two_replicas_do_not_go_to_one_sleeping_engine() -> None:
    free = placement.rooms(a_capacity(a_host("host-1", gpus=3)), frozenset())
    own = sleepers(("GPU-host-1-2",))
    first = placement.place(free, GPU_SHAPE, own)
    assert first is not None
    second = placement.place(placement.taken(free, first, GPU_SHAPE), GPU_SHAPE, own)
    assert second is not None
    assert (first.devices, second.devices) == (("GPU-host-1-2",), ("GPU-host-1-0",))


def test_others_start_where_nobody_sleeps_as_long_as_there_is_such_a_device() -> None:
    capacity = msgspec.structs.replace(a_capacity(a_host("host-1", gpus=2)), asleep=sleepers(("GPU-host-1-0",)))
    free = placement.rooms(capacity, frozenset())
    first = placement.place(free, GPU_SHAPE)
    assert first is not None
    second = placement.place(placement.taken(free, first, GPU_SHAPE), GPU_SHAPE)
    assert second is not None
    assert (first.devices, second.devices) == (("GPU-host-1-1",), ("GPU-host-1-0",))


def test_the_endpoint_is_named_to_the_host() -> None:
    world = a_world(1)
    (engine,) = world.engines.values()
    assert engine.endpoint_uid == "e1"


def a_capacity(*hosts: HostCapacity) -> Capacity:
    return Capacity(hosts=hosts, quota_limit=9)
