"""A rollout from step to step: what it waits for, what supersedes it, and what its record tells."""

import msgspec

from fleetform.domain.replica import FailureReason, ReplicaPhase
from fleetform.domain.rollout import RolloutPhase, StepOutcome
from fleetform.planner.model import Stop
from tests.builders import effective_endpoint
from tests.planner.moving import begun, served, wish
from tests.planner.world import World


def test_a_hold_that_is_shorter_than_gateways_count_in_says_so() -> None:
    world = begun(step_hold_s=5)
    world.measured = {}
    world.pass_time(5)
    world.settle()
    step = world.records[-1].steps[0]
    assert step.outcome is StepOutcome.NOT_JUDGED
    assert step.evidence == ("a hold of 5 s is too short to be judged: gateways count in slices of 5 s, so it takes 10 s",)


def test_two_rollouts_on_one_endpoint_never_interleave() -> None:
    """The second supersedes the first at a step boundary, and starts from the split in force."""
    world = begun()
    world.put(wish({"v3": 100}))
    world.settle()
    assert world.weights() == {"v1": 81, "v2": 9, "v3": 10}
    first, second = world.records[-2:]
    assert (first.generation, first.phase, second.generation, second.phase) == (2, RolloutPhase.SUPERSEDED, 3, RolloutPhase.RUNNING)
    assert second.old == {"v1": 90, "v2": 10}
    assert first.steps[-1].outcome is StepOutcome.NOT_JUDGED
    assert first.ended_at == second.started_at


def test_a_limit_that_changes_in_the_middle_goes_on_with_the_step_that_is_held() -> None:
    world = begun()
    world.pass_time(30)
    world.put(wish(request_timeout_s=9))
    world.settle()
    assert world.weights() == {"v1": 90, "v2": 10}
    assert [r.phase for r in world.records[-2:]] == [RolloutPhase.SUPERSEDED, RolloutPhase.RUNNING]
    world.pass_time(30)
    world.settle()
    assert world.weights() == {"v1": 50, "v2": 50}
    assert [step.percent for step in world.records[-1].steps] == [10, 50]


def test_a_limit_that_changes_at_rest_is_no_rollout() -> None:
    world = served()
    before = list(world.records)
    world.put(wish({"v1": 100}, request_timeout_s=9))
    world.settle()
    assert world.records == before
    assert world.status.ready


def test_failed_starts_are_recorded_with_the_last_words() -> None:
    world = served()
    world.broken["v2"] = FailureReason.CRASHED
    world.put(wish())
    for _ in range(40):
        world.step()
        world.pass_time(1)
    record = world.records[-1]
    assert (record.phase, record.reason) == (RolloutPhase.ROLLED_BACK, "Crashed")
    assert "last words" in record.evidence
    assert record.steps == ()


def test_a_drain_waits_longer_than_the_longest_answer_may_take() -> None:
    """The drain deadline is never shorter than the time that max_tokens may take."""
    for limit_s, least in ((30, 300), (3000, 3000)):
        world = World(effective_endpoint(request_timeout_s=limit_s))
        world.settle()
        world.deleting = True
        stops = [action for made in world.settle() for action in made.actions if isinstance(action, Stop)]
        assert [stop.command.drain_timeout_s for stop in stops] == [least]


def test_an_endpoint_that_is_deleted_ends_its_rollout() -> None:
    world = begun()
    world.deleting = True
    world.settle()
    assert world.records[-1].phase is RolloutPhase.SUPERSEDED
    assert world.records[-1].reason == "Deleted"


def test_versions_of_one_variant_are_told_apart() -> None:
    world = served()
    variant = world.effective.variants["v1"]
    changed = msgspec.structs.replace(variant, engine_args={"max_num_seqs": "2"})
    world.put(msgspec.structs.replace(wish(), variants={"v1": changed}))
    world.settle()
    (step,) = world.records[-1].steps
    assert sorted(step.weights.values()) == [10, 90]
    assert all(name.startswith("v1") for name in step.weights)


def test_a_scale_down_never_takes_a_replica_that_a_rollout_just_made_ready() -> None:
    world = served(replicas=2)
    world.put(wish(replicas=2))
    world.settle()
    fresh = {i for i, row in world.rows.items() if row.model_version == "m:v2" and row.phase is ReplicaPhase.READY}
    assert fresh
    for _ in range(4):
        stopped = {action.command.replica_id for made in world.settle() for action in made.actions if isinstance(action, Stop)}
        assert not stopped & fresh
        world.pass_time(60)
    assert world.status.ready


def test_no_weight_moves_before_its_replicas_are_ready_and_no_hold_begins_before_the_acknowledgement() -> None:
    world = served()
    world.deaf = True
    world.put(wish())
    for _ in range(20):
        world.step()
    assert world.weights() == {"v1": 100}
    world.deaf = False
    world.settle()
    world.deaf = True
    world.pass_time(60)
    world.step()
    assert world.weights() == {"v1": 50, "v2": 50}
    world.pass_time(600)
    for _ in range(5):
        world.step()
    assert world.weights() == {"v1": 50, "v2": 50}
    assert world.records[-1].steps[-1].started_at is None
    world.deaf = False
    world.settle()
    assert world.weights() == {"v1": 50, "v2": 50}
    assert world.records[-1].steps[-1].started_at == world.now


def test_a_clock_that_is_set_back_makes_no_pause_and_no_hold_longer() -> None:
    """Each of them begins anew."""
    world = begun(bake_s=600)
    world.pass_time(-3600)
    world.settle()
    for split in ({"v1": 50, "v2": 50}, {"v2": 100}):
        world.pass_time(60)
        world.settle()
        assert world.weights() == split
    world.pass_time(60)
    world.settle()
    assert world.status.ready
    world.pass_time(-3600)
    world.settle()
    world.pass_time(600)
    world.settle()
    assert world.ready("v1") == 0
    (serving,) = world.rows
    world.crash(serving)
    world.step()
    world.pass_time(-3600)
    world.settle()
    world.pass_time(1)
    world.settle()
    assert world.ready("v2") == 1
