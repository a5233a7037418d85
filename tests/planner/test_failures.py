"""What follows from a start or an engine that fails, and from a host that knows nothing of a replica."""

import msgspec
import pytest

from fleetform.domain.conditions import ConditionType, Reason
from fleetform.domain.protocol import HostReplicaState
from fleetform.domain.replica import FailureReason, ReplicaPhase
from fleetform.planner.model import Drop, Release, Start, Stop
from tests.builders import effective_endpoint
from tests.planner.situations import reason, served
from tests.planner.world import World

P = ReplicaPhase


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


def test_an_engine_that_its_host_ended_in_order_is_replaced_at_once_and_has_not_failed() -> None:
    """So does `fleetform down`, while the server is away: the next `up` finds the replica exited, and nothing amiss."""
    world = served()
    (replica_id,) = (i for i, row in world.rows.items() if row.phase is P.READY)
    world.seen[replica_id] = msgspec.structs.replace(world.seen[replica_id], state=HostReplicaState.EXITED, exit_code=0)
    said = []
    for _ in range(10):
        world.step()
        said.append(reason(world, ConditionType.DEGRADED))
    assert set(said) == {Reason.NONE}
    assert replica_id not in world.rows
    assert world.ready() == 1
    assert world.rollout is not None
    assert world.rollout.failures == {}


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


def test_a_failed_replica_gives_back_what_it_held_and_is_shown_until_the_next_try() -> None:
    world = World()
    world.broken["v1"] = FailureReason.CRASHED
    made = world.step()
    while not any(isinstance(action, Release) for action in made.actions):
        made = world.step()
    (row,) = world.rows.values()
    assert (row.phase, row.failure, row.log_tail) == (P.FAILED, FailureReason.CRASHED, ("last words",))
    assert not world.reservations


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
