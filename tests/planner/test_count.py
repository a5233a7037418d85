"""How many replicas there are: by the recorded decision, by bounds and schedules, by the room there is, and in a rollout."""

from datetime import timedelta

import msgspec
import pytest

from fleetform.domain.conditions import ConditionType, Reason, condition
from fleetform.domain.effective import EffectiveSchedule
from fleetform.domain.machine import HostCapacity
from fleetform.domain.replica import ReplicaPhase
from fleetform.domain.scaling import ScalingReason
from fleetform.planner import scale
from tests.builders import a_host, effective_endpoint
from tests.planner.counted import at_zero, living, served, told, wish
from tests.planner.world import World

P = ReplicaPhase


def test_the_count_is_what_was_decided_and_every_change_is_told_with_its_reason() -> None:
    world = served()
    world.scale(3)
    plans = world.settle()
    assert living(world) == 3
    assert told(plans) == [("ScaledUp", "from 1 to 3 replicas: the load asks for 3")]
    assert world.status.scaling is not None
    assert (world.status.scaling.replicas, world.status.replicas.wanted) == (3, 3)
    world.scale(2)
    assert told(world.settle()) == [("ScaledDown", "from 3 to 2 replicas: the load asks for 2")]
    assert living(world) == 2


def test_a_decision_is_recorded_once() -> None:
    world = served()
    world.scale(3)
    world.settle()
    recorded = world.scaling
    world.pass_time(100)
    world.settle()
    assert world.scaling is recorded or world.scaling == recorded


def test_an_older_decision_than_the_recorded_one_is_not_taken() -> None:
    world = served()
    world.scale(2)
    old = world.decision
    world.scale(4)
    world.settle()
    world.decision = old
    world.settle()
    assert living(world) == 4


def test_a_decision_counts_though_the_clock_was_set_back() -> None:
    """Also that of a successor whose clock is slow: what is held at zero must not wait until the clock has come round."""
    world = at_zero()
    world.pass_time(-3600)
    world.scale(1, ScalingReason.WOKEN)
    world.settle()
    assert living(world) == 1


def test_changed_bounds_hold_at_once() -> None:
    world = served()
    world.put(wish(least=3))
    plans = world.settle()
    assert living(world) == 3
    assert told(plans) == [("ScaledUp", "from 1 to 3 replicas: min_replicas is 3")]
    world.put(wish(least=1, most=2))
    plans = world.settle()
    assert living(world) == 2
    assert told(plans) == [("ScaledDown", "from 3 to 2 replicas: max_replicas is 2")]


@pytest.mark.parametrize(
    ("bounds", "reason", "message"),
    [
        ((1, 5), ScalingReason.HELD, "3 replicas were asked for by bounds of before; from now on the load decides"),
        ((1, 3), ScalingReason.HELD, "3 replicas were asked for by bounds of before; from now on the load decides"),
        ((3, 6), ScalingReason.MINIMUM, "min_replicas is 3"),
    ],
)
def test_a_count_that_was_a_bound_does_not_name_one_that_is_gone(bounds: tuple[int, int], reason: ScalingReason, message: str) -> None:
    least, most = bounds
    all_day = EffectiveSchedule(cron="0 0 * * *", duration_s=86_400, timezone="UTC", min_replicas=3, max_replicas=None)
    world = served(least=1, schedule={"day": all_day})
    assert world.status.scaling is not None
    assert world.status.scaling.message == "min_replicas is 3 by schedule day"
    world.put(wish(least=least, most=most))
    plans = world.settle()
    assert living(world) == 3
    assert world.status.scaling is not None
    assert (world.status.scaling.reason, world.status.scaling.message) == (reason, message)
    assert told(plans) == []


def test_a_count_between_the_bounds_of_a_schedule_that_replaced_its_own_names_none_of_them_and_is_decided_once() -> None:
    world = served(least=3)
    all_day = EffectiveSchedule(cron="0 0 * * *", duration_s=86_400, timezone="UTC", min_replicas=None, max_replicas=3)
    world.put(wish(schedule={"day": all_day}))
    world.settle()
    decided = world.scaling
    assert decided is not None
    assert (decided.replicas, decided.reason) == (3, ScalingReason.HELD)
    assert decided.message == "3 replicas were asked for by bounds of before; from now on the load decides"
    world.pass_time(10)
    world.settle()
    assert world.scaling == decided


def test_a_fixed_count_says_so_and_that_no_load_changes_it() -> None:
    world = served(least=2, most=2)
    assert world.status.scaling is not None
    assert (world.status.scaling.reason, world.status.scaling.message) == (ScalingReason.MINIMUM, "min_replicas is 2")
    assert (world.status.scaling.more_above, world.status.scaling.fewer_below) == (None, None)


def test_a_schedule_changes_the_count_at_its_times_and_the_loop_is_told_when() -> None:
    noon = EffectiveSchedule(cron="30 12 * * *", duration_s=1800, min_replicas=4, max_replicas=6)
    world = served(schedule={"lunch": noon})
    assert living(world) == 1
    last = world.step()
    assert last.next_at is not None
    assert last.next_at <= world.now.replace(hour=12, minute=30)
    world.now = world.now.replace(hour=12, minute=30, second=0, microsecond=0)
    plans = world.settle()
    assert living(world) == 4
    assert told(plans) == [("ScaledUp", "from 1 to 4 replicas: min_replicas is 4 by schedule lunch")]
    world.scale(6)
    world.settle()
    world.now = world.now.replace(hour=13, minute=0, second=0, microsecond=0)
    plans = world.settle()
    assert living(world) == 5, "the endpoint's own maximum holds again"
    assert told(plans) == [("ScaledDown", "from 6 to 5 replicas: max_replicas is 5")]


def test_the_count_does_not_fall_while_a_rollout_moves_and_may_rise() -> None:
    world = served()
    world.scale(3)
    world.settle()
    world.deaf = True
    world.put(wish(weights={"v2": 100}))
    world.step()
    world.scale(1)
    world.step()
    assert world.scaling is not None
    assert world.scaling.replicas == 3
    world.scale(4)
    world.step()
    assert world.scaling.replicas == 4
    world.deaf = False
    world.settle()
    assert world.ready("v2") == 4


def test_those_that_are_not_ready_go_first_then_the_idle_ones_then_the_youngest() -> None:
    world = served(least=3)
    first, _, third = world.born
    world.busy = {first: 1, third: 2}
    world.put(wish(least=2, most=2))
    world.settle()
    assert set(world.rows) == {first, third}, "the idle one"
    world.put(wish(least=1, most=1))
    world.settle()
    assert len(world.rows) == 1
    world = served(least=1)
    world.scale(3)
    world.step()
    world.scale(1)
    world.settle()
    assert set(world.rows) == {world.born[0]}, "those that were starting"


def test_of_those_that_start_one_that_serves_already_goes_last() -> None:
    """The proxies have it, and its readiness is not recorded yet: in its place none may stay that answers nothing."""
    world = served()
    (row,) = world.rows.values()
    starting = msgspec.structs.replace(row, replica_id="a", phase=P.STARTING, ready_at=None, proven=False)
    younger = msgspec.structs.replace(starting, replica_id="b", proven=True, created_at=row.created_at + timedelta(seconds=1))
    limits = {row.track: scale.Bounds(least=1, most=1)}
    assert scale.surplus(limits, (starting, younger), {"a", "b"}, {}) == [starting]


@pytest.mark.parametrize(("quota", "hosts"), [(2, (a_host(),)), (100, (a_host(cpu_millis=1000),))])
def test_what_has_no_room_is_said_and_the_rest_serves(quota: int, hosts: tuple[HostCapacity, ...]) -> None:
    world = World(wish(), quota=quota, hosts=hosts)
    world.settle()
    world.scale(4)
    world.settle()
    assert (world.ready(), world.status.ready) == (2, True)
    degraded = condition(world.status.conditions, ConditionType.DEGRADED)
    assert degraded is not None
    assert (degraded.status, degraded.reason) == (True, Reason.SCALING_LIMITED)
    world.scale(2)
    world.settle()
    degraded = condition(world.status.conditions, ConditionType.DEGRADED)
    assert degraded is not None
    assert not degraded.status


def test_what_is_booked_is_the_floor_and_not_what_the_load_asks_for() -> None:
    world = served(least=1)
    world.scale(4)
    world.settle()
    assert world.booked == 1
    world.scale(1)
    world.settle()
    assert (world.booked, len(world.reservations)) == (1, 1)
    assert at_zero().booked == 0


def test_a_rollout_that_supersedes_another_in_scarce_room_has_no_dip() -> None:
    """The old side is shared out anew over three tracks, one of which then has more ready replicas than its share."""
    steps = (1, 50, 100)
    first = effective_endpoint({"v1": 1, "v2": 99}, 4, steps=steps)
    second = effective_endpoint({"v1": 100}, 4, steps=steps, args={"v1": {"max_num_seqs": "2"}})
    world = World(first, quota=5)
    world.settle()
    world.put(second)
    while world.ready("v1") < 3:
        world.step()
        world.pass_time(61)
    world.put(effective_endpoint({"v1": 100}, 4, steps=steps))
    for _ in range(30):
        world.step()
        assert world.ready() >= 4
        world.pass_time(61)
    world.quota = 6  # two old tracks keep one replica each until the last step
    for _ in range(30):
        world.step()
        assert world.ready() >= 4
        world.pass_time(61)
    assert world.status.ready
