"""Worn replicas are replaced one at a time, beside what serves; replicas that hang answer nobody."""

from datetime import timedelta
from typing import Any

import pytest

from fleetform.domain.conditions import ConditionType, Reason, condition
from fleetform.domain.replica import FailureReason, Replica, ReplicaPhase
from fleetform.planner import wear
from fleetform.planner.model import BlockReason, Plan
from fleetform.planner.wear import MemorySample
from tests.builders import GPU_SHAPE, NOON, a_host, effective_endpoint
from tests.planner.world import World

P = ReplicaPhase
WORN = "it has answered 20 requests, of the 20 after which a replica is replaced"


def served(replicas: int = 1, gpus: int = 4, **fields: Any) -> World:
    """A world whose endpoint is ready, on a host with so many GPUs."""
    world = World(effective_endpoint(replicas=replicas, **fields), hosts=(a_host(gpus=gpus),), shape=GPU_SHAPE)
    world.settle()
    assert world.status.ready
    return world


def told(plans: list[Plan], reason: str) -> list[str]:
    return [event.message for made in plans for event in made.events if event.reason == reason]


def living(world: World) -> list[Replica]:
    return [r for r in world.rows.values() if r.phase in (P.PLACING, P.FETCHING, P.STARTING, P.READY)]


def step_watched(world: World, least: int, most: int) -> Plan:
    """One step, after which the ready and the living are within these bounds."""
    made = world.step()
    assert world.ready() >= least
    assert len(living(world)) <= most
    return made


def degraded(world: World) -> Reason:
    found = condition(world.status.conditions, ConditionType.DEGRADED)
    assert found is not None
    return found.reason


def test_a_worn_replica_drains_when_its_successor_is_routed_and_not_before() -> None:
    world = served()
    (old,) = world.rows
    world.worn = {old: WORN}
    plans = [step_watched(world, least=1, most=2) for _ in range(12)]
    assert old not in world.rows
    assert world.ready() == 1
    (message,) = told(plans, wear.RECYCLED)
    assert old in message
    assert WORN in message
    assert world.settle()[-1].actions == ()


def test_many_worn_replicas_go_one_after_the_other() -> None:
    world = served(replicas=3)
    first = set(world.rows)
    world.worn = dict.fromkeys(first, WORN)
    plans = [step_watched(world, least=3, most=4) for _ in range(40)]
    assert not first & world.rows.keys()
    assert world.ready() == 3
    assert len(told(plans, wear.RECYCLED)) == 3


def test_what_is_half_done_is_finished_though_nobody_says_any_more_that_it_is_worn() -> None:
    """A new leader knows only the rows."""
    world = served()
    (old,) = world.rows
    world.worn = {old: WORN}
    world.step()
    world.worn = {}
    for _ in range(12):
        step_watched(world, least=1, most=2)
    assert old not in world.rows
    assert world.ready() == 1


def test_a_worn_replica_that_dies_meanwhile_leaves_its_successor_in_its_place() -> None:
    world = served()
    (old,) = world.rows
    world.worn = {old: WORN}
    world.step()
    world.crash(old)
    world.settle()
    assert world.ready() == 1
    assert len(world.born) == 2


def test_without_room_it_says_so_and_goes_on_serving() -> None:
    world = served(gpus=1)
    (old,) = world.rows
    world.worn = {old: WORN}
    made = world.step()
    assert [blocked.message for blocked in made.blocked if blocked.reason is BlockReason.WORN]
    assert made.actions == ()
    assert (world.ready(), degraded(world)) == (1, Reason.SCALING_LIMITED)
    world.worn = {}
    world.step()
    assert degraded(world) is Reason.NONE


def test_without_quota_it_says_so_too() -> None:
    world = served()
    world.quota = 1
    (old,) = world.rows
    world.worn = {old: WORN}
    made = world.step()
    assert any(blocked.reason is BlockReason.WORN for blocked in made.blocked)
    assert old in world.rows


def test_where_the_endpoint_swaps_the_worn_one_goes_first_as_long_as_another_serves() -> None:
    world = served(replicas=2, gpus=2, strategy="swap")
    first = set(world.rows)
    world.worn = dict.fromkeys(first, WORN)
    for _ in range(60):
        step_watched(world, least=1, most=2)
    assert not first & world.rows.keys()
    alone = served(replicas=1, gpus=1, strategy="swap")
    alone.worn = dict.fromkeys(alone.rows, WORN)
    alone.step()
    assert alone.ready() == 1


def test_a_rollout_is_not_disturbed() -> None:
    world = served(replicas=2)
    world.put(effective_endpoint({"v2": 100}, replicas=2, steps=(50, 100), step_hold_s=60))
    for _ in range(8):
        world.step()
    assert world.rollout is not None
    assert not world.rollout.settled
    before = set(world.born)
    world.worn = dict.fromkeys(world.rows, WORN)
    for _ in range(3):
        world.step()
    assert set(world.born) == before


def test_a_successor_that_cannot_start_leaves_the_worn_one_serving() -> None:
    world = served()
    (old,) = world.rows
    world.worn = {old: WORN}
    world.broken = {"v1": FailureReason.CRASHED}
    for _ in range(30):
        step_watched(world, least=1, most=2)
        world.pass_time(2)
    assert world.rows[old].phase is P.READY
    world.broken = {}
    for _ in range(100):
        step_watched(world, least=1, most=2)
        world.pass_time(5)
    assert old not in world.rows
    assert world.ready() == 1


@pytest.mark.parametrize("limit", [1, 7, 20, 10_000])
def test_limits_differ_by_replica_within_a_tenth(limit: int) -> None:
    limits = {wear.limit_of(f"r{number}", limit) for number in range(200)}
    assert min(limits) >= max(1, 0.9 * limit - 1)
    assert max(limits) <= limit
    assert len(limits) > 1 or limit < 10


def test_a_replica_below_its_limit_is_not_worn() -> None:
    assert wear.worn_by_requests("r1", 17, 20) == ""
    assert "20" in wear.worn_by_requests("r1", 20, 20)
    assert wear.worn_by_requests("r1", 10**9, None) == ""


def samples(*memory_mib: float) -> tuple[MemorySample, ...]:
    """One every half minute."""
    return tuple(MemorySample(at=NOON + timedelta(seconds=30 * n), memory_mib=int(mib)) for n, mib in enumerate(memory_mib))


def test_memory_that_only_grows_and_will_soon_be_full_wears_a_replica() -> None:
    assert "MiB a minute" in wear.worn_by_memory(samples(*(4000 + 25 * n for n in range(40))), 5120)


@pytest.mark.parametrize(
    "memory_mib",
    [
        [4000 + 25 * n for n in range(10)],
        [4900] * 40,
        [4400 + (n % 2) * 600 for n in range(40)],
        [3000] * 20 + [5000] * 20,
        [100 + 25 * n for n in range(40)],
        [5000 - 10 * n for n in range(40)],
        [4600 + n / 10 for n in range(40)],
    ],
    ids=["too short", "full and flat", "swinging", "one step", "far from full", "shrinking", "hours away"],
)
def test_memory_that_does_not_is_left_alone(memory_mib: list[float]) -> None:
    assert wear.worn_by_memory(samples(*memory_mib), 5120) == ""


def test_a_replica_that_hangs_is_not_counted_as_ready_and_the_endpoint_says_so() -> None:
    world = served(replicas=2)
    hung, other = world.rows
    world.hang(hung)
    world.step()
    assert degraded(world) is Reason.HUNG
    assert (world.status.replicas.ready, world.status.phase) == (1, "Degraded")
    assert world.ready() == 2  # its row stays Ready: nothing is placed for it until its host has ended it
    world.hang(other)
    world.step()
    ready = condition(world.status.conditions, ConditionType.READY)
    assert ready is not None
    assert ready.reason is Reason.NO_READY_REPLICA
    assert world.status.phase == "Degraded"
    world.hang(hung, None)
    world.hang(other, None)
    world.settle()
    assert (degraded(world), world.status.replicas.ready) == (Reason.NONE, 2)


def test_a_replica_that_is_ejected_for_being_slow_counts_as_ready_and_the_endpoint_says_so_until_it_is_back() -> None:
    world = served(replicas=2)
    slow, _ = world.rows
    events = []
    for why in ("it gets no new requests for 30 s", "", "it gets no new requests for 60 s", ""):
        world.eject(slow, why)
        plans = world.settle()
        assert {type(action).__name__ for plan in plans for action in plan.actions} <= {"Move"}, "nothing is started or stopped for it"
        assert world.rows[slow].slow == why
        assert (degraded(world), world.status.replicas.ready) == (Reason.SLOW if why else Reason.NONE, 2)
        events += [(event.kind, event.reason) for plan in plans for event in plan.events]
    assert events == [("Warning", "Slow"), ("Normal", "Recovered")] * 2


def test_where_fewer_are_asked_for_the_one_that_is_ejected_goes_first() -> None:
    for index in (0, 1, 2):
        world = served(replicas=3)
        slow = list(world.rows)[index]
        world.eject(slow, "it gets no new requests for 30 s")
        world.step()
        world.put(effective_endpoint(replicas=2))
        world.settle()
        assert slow not in world.rows
        assert world.ready() == 2


def test_a_hung_replica_that_its_host_has_ended_is_replaced_and_named() -> None:
    world = served()
    (hung,) = world.rows
    world.hang(hung)
    world.step()
    world.crash(hung, FailureReason.HUNG)
    world.step()
    assert degraded(world) is Reason.HUNG
    world.pass_time(2)
    world.settle()
    assert world.ready() == 1
    assert hung not in world.rows


def test_traffic_does_not_move_on_to_a_version_whose_replica_hangs() -> None:
    world = served()
    world.put(effective_endpoint({"v2": 100}, steps=(50, 100), step_hold_s=0))
    while world.ready("v2") == 0:
        world.step()
    (new,) = [r.replica_id for r in world.rows.values() if r.model_version == "m:v2"]
    world.hang(new)
    for _ in range(5):
        world.step()
    assert world.rollout is not None
    assert not world.rollout.settled
    world.hang(new, None)
    world.settle()
    assert world.rollout.settled
