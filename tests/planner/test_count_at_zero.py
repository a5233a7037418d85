"""Endpoints that rest: how they get there, what wakes them, and what a change does meanwhile."""

from datetime import timedelta

import msgspec

from fleetform.domain.conditions import Reason
from fleetform.domain.replica import FailureReason
from fleetform.domain.scaling import ScalingReason
from tests.builders import effective_endpoint
from tests.planner.counted import at_zero, living, ready_reason, served, told, wish
from tests.planner.world import World


def test_the_first_deployment_proves_itself_with_one_replica_and_may_then_rest() -> None:
    world = World(wish(least=0))
    plans = world.settle()
    assert world.status.ready
    assert living(world) == 1
    assert world.status.scaling is not None
    assert world.status.scaling.reason is ScalingReason.INITIAL
    world.scale(0, ScalingReason.IDLE)
    plans = world.settle()
    assert living(world) == 0
    assert not world.rows
    assert not world.reservations
    assert world.status.ready, "what rests is ready for Terraform"
    assert (world.status.phase, ready_reason(world)) == ("ScaledToZero", Reason.SCALED_TO_ZERO)
    assert world.status.live is not None
    assert world.weights() == {"v1": 100}
    assert told(plans) == [("ScaledDown", "from 1 to 0 replicas: the load asks for 0")]


def test_a_broken_first_deployment_never_counts_as_resting() -> None:
    world = World(wish(least=0))
    world.broken["v1"] = FailureReason.CRASHED
    for _ in range(4):
        world.settle()
        world.pass_time(100)
    assert not world.status.ready
    assert world.status.phase == "Stalled"


def test_a_woken_endpoint_stays_ready_while_it_starts() -> None:
    world = at_zero()
    world.scale(1, ScalingReason.WOKEN)
    for _ in range(3):
        world.step()
        assert world.status.ready
        assert ready_reason(world) in (Reason.SCALED_TO_ZERO, Reason.SERVING)
    world.settle()
    assert (living(world), ready_reason(world)) == (1, Reason.SERVING)


def test_a_woken_endpoint_whose_start_fails_is_not_ready() -> None:
    world = at_zero()
    world.broken["v1"] = FailureReason.CRASHED
    world.scale(1, ScalingReason.WOKEN)
    world.settle()
    assert not world.status.ready
    assert ready_reason(world) is Reason.NO_READY_REPLICA


def test_woken_while_the_last_replica_drains_starts_another_one() -> None:
    world = served(least=0)
    world.scale(0, ScalingReason.IDLE)
    world.step()
    world.scale(1, ScalingReason.WOKEN)
    world.settle()
    assert living(world) == 1
    assert len(world.born) == 2


def test_a_rollout_at_zero_proves_the_new_version_and_goes_back_to_rest() -> None:
    world = at_zero()
    world.put(wish(least=0, weights={"v2": 100}))
    seen = 0
    for _ in range(20):
        world.step()
        seen = max(seen, world.ready("v2"))
        assert world.ready("v1") == 0, "nothing of the version that rests is started for it"
        world.pass_time(1)
    world.settle()
    assert seen == 1
    assert world.weights() == {"v2": 100}
    assert (world.status.ready, living(world), world.status.phase) == (True, 0, "ScaledToZero")
    assert world.status.live is not None
    assert set(world.status.live.variants) == {"v2"}


def test_a_version_that_does_not_start_at_zero_is_turned_back_and_the_old_one_still_rests() -> None:
    world = at_zero()
    world.broken["v2"] = FailureReason.CRASHED
    world.put(wish(least=0, weights={"v2": 100}))
    for _ in range(6):
        world.settle()
        world.pass_time(60)
    assert world.status.rejected is not None
    assert world.weights() == {"v1": 100}
    assert living(world) == 0
    world.scale(1, ScalingReason.WOKEN)
    world.settle()
    assert world.ready("v1") == 1


def test_other_scaling_at_zero_starts_nothing() -> None:
    world = at_zero()
    world.put(wish(least=0, most=9, idle_s=600))
    world.settle()
    assert world.status.ready
    assert len(world.born) == 1
    world.put(wish(least=2, most=9))
    world.settle()
    assert (world.ready(), world.status.ready) == (2, True)


def test_at_zero_nothing_is_kept_warm() -> None:
    world = served(least=0)
    world.put(wish(least=0, weights={"v2": 100}))
    world.settle()
    assert world.ready("v1") == 1, "the bake"
    world.scale(0, ScalingReason.IDLE)
    world.settle()
    assert living(world) == 0


def test_each_version_with_traffic_has_one_replica_or_none_has() -> None:
    world = served(least=0, weights={"v1": 50, "v2": 50})
    assert (world.ready("v1"), world.ready("v2")) == (1, 1)
    world.scale(0, ScalingReason.IDLE)
    world.settle()
    world.scale(1, ScalingReason.WOKEN)
    world.settle()
    assert (world.ready("v1"), world.ready("v2")) == (1, 1)
    assert world.status.replicas.wanted == 2


def test_deleting_what_rests_leaves_nothing() -> None:
    world = at_zero()
    world.deleting = True
    world.settle()
    assert world.buried


def test_the_engine_of_a_resting_endpoint_may_be_mended_before_it_is_woken() -> None:
    """A changed instance type is another track: it is proven once, like any other change."""
    world = at_zero()
    world.pass_time(timedelta(hours=2).total_seconds())
    world.put(msgspec.structs.replace(wish(least=0), variants=effective_endpoint(args={"v1": {"max_num_seqs": "2"}}).variants))
    world.settle()
    world.pass_time(700)
    world.settle()
    assert (len(world.born), living(world), world.status.ready) == (2, 0, True)
