"""The planner's decisions, one situation each."""

from collections.abc import Callable
from typing import Any

import pytest

from fleetform.domain.conditions import ConditionType, Reason, condition
from fleetform.domain.machine import Shape
from fleetform.domain.replica import FailureReason, ReplicaPhase
from fleetform.planner.model import Blocked, BlockReason, Drop, Forget, Move, Plan, Release, Reserve, Start, Stop
from tests.builders import GPU_SHAPE, a_host, effective_endpoint
from tests.planner.world import World, a_version

P = ReplicaPhase


def kinds(made: Plan) -> list[str]:
    return [type(action).__name__ for action in made.actions]


def blocked(made: Plan, reason: BlockReason) -> Blocked:
    return next(b for b in made.blocked if b.reason is reason)


def reason(world: World, type_: ConditionType) -> Reason:
    found = condition(world.status.conditions, type_)
    assert found is not None
    return found.reason


def served(**fields: Any) -> World:
    """A world whose endpoint is ready."""
    world = World(effective_endpoint(**fields))
    world.settle()
    assert world.status.ready
    return world


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


def test_three_failed_starts_turn_a_version_back() -> None:
    world = served()
    world.broken["v2"] = FailureReason.CRASHED
    world.put(effective_endpoint({"v2": 100}))
    starts = 0
    for _ in range(40):
        starts += sum(isinstance(action, Start) for action in world.step().actions)
        world.pass_time(1)
    assert starts == 3
    assert world.status.rejected is not None
    assert (world.status.rejected.generation, world.status.rejected.reason) == (2, FailureReason.CRASHED)
    assert "last words" in world.status.rejected.evidence
    assert reason(world, ConditionType.READY) is Reason.ROLLED_BACK
    assert not world.status.ready
    assert world.weights() == {"v1": 100}


@pytest.mark.parametrize("failure", [FailureReason.DIGEST_MISMATCH, FailureReason.WRONG_MODEL, FailureReason.START_TIMEOUT])
def test_a_start_that_can_only_fail_again_is_tried_once(failure: FailureReason) -> None:
    world = World()
    world.broken["v1"] = failure
    starts = 0
    for _ in range(20):
        starts += sum(isinstance(action, Start) for action in world.step().actions)
        world.pass_time(60)
    assert starts == 1
    assert reason(world, ConditionType.PROGRESSING) is Reason.STALLED


def test_a_changed_retry_starts_a_stalled_endpoint_anew() -> None:
    world = World()
    world.broken["v1"] = FailureReason.WRONG_MODEL
    world.settle()
    assert reason(world, ConditionType.PROGRESSING) is Reason.STALLED
    world.broken.clear()
    world.put(effective_endpoint(retry="1"))
    world.settle()
    assert world.status.ready


def test_an_engine_that_ends_by_itself_is_replaced_after_a_growing_pause() -> None:
    world = served()
    pauses = []
    for _ in range(4):
        (replica_id,) = (i for i, row in world.rows.items() if row.phase is P.READY)
        world.crash(replica_id)
        ended = world.now
        while world.ready() == 0 or replica_id in world.rows:
            world.step()
            if world.ready() == 0 and not any(r.phase in (P.PLACING, P.FETCHING, P.STARTING) for r in world.rows.values()):
                world.pass_time(1)
        pauses.append((world.now - ended).total_seconds())
    for pause, most in zip(pauses, (1, 2, 4, 8), strict=True):
        assert 0.8 * most <= pause <= most


def test_a_replica_whose_engine_has_died_is_out_at_once_and_keeps_what_it_holds_until_its_host_has_cleared_up() -> None:
    world = served(replicas=2)
    victim = next(iter(world.rows))
    world.die(victim)
    made = world.step()
    assert not [action for action in made.actions if isinstance(action, Release | Drop | Stop)]
    row = world.rows[victim]
    assert (row.phase, row.failure, row.message) == (P.FAILED, FailureReason.CRASHED, "it died")
    assert world.published is not None
    assert world.published.route is not None
    assert victim not in {target.replica_id for track in world.published.route.tracks for target in track.targets}
    assert victim in world.reservations
    assert [action for action in world.step().actions if isinstance(action, Release | Drop)]
    assert victim not in world.reservations


def test_nothing_is_sent_to_a_host_that_does_not_answer_and_its_route_is_kept() -> None:
    world = served()
    before = world.published
    world.away.add("host-1")
    made = world.step()
    assert made.actions == ()
    assert world.published == before
    assert reason(world, ConditionType.DEGRADED) is Reason.HOST_UNREACHABLE
    world.away.clear()
    world.settle()
    assert reason(world, ConditionType.DEGRADED) is Reason.NONE


def test_a_replica_that_its_host_has_forgotten_is_replaced() -> None:
    world = served()
    (lost,) = world.rows
    world.seen.clear()
    world.settle()
    assert world.ready() == 1
    assert lost not in world.rows


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


def test_a_failed_replica_gives_back_what_it_held_and_is_shown_until_the_next_try() -> None:
    world = World()
    world.broken["v1"] = FailureReason.CRASHED
    made = world.step()
    while not any(isinstance(action, Release) for action in made.actions):
        made = world.step()
    (row,) = world.rows.values()
    assert (row.phase, row.failure, row.log_tail) == (P.FAILED, FailureReason.CRASHED, ("last words",))
    assert not world.reservations


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


def test_an_engine_that_runs_out_of_memory_again_and_again_is_not_started_for_a_long_while() -> None:
    world = served()
    for _ in range(3):
        (replica_id,) = [r.replica_id for r in world.rows.values() if r.phase is P.READY]
        world.crash(replica_id, FailureReason.OOM_KILLED)
        for _ in range(12):
            world.step()
            world.pass_time(1)
    born = len(world.born)
    assert world.ready() == 0
    assert reason(world, ConditionType.DEGRADED) is Reason.OOM_KILLED
    world.pass_time(3000)
    world.step()
    assert len(world.born) == born
    world.put(effective_endpoint(retry="again"))
    world.settle()
    assert world.ready() == 1
