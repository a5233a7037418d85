"""Row 1: server or host worker killed (SIGKILL) at every step of a rollout: no request is lost, the rollout goes on, nothing is doubled."""

import random
from collections.abc import Iterator

import pytest

from fleetform.steps import Step
from tests.harness.crashing import AWAKE, CrashBed, in_turn
from tests.harness.load import nothing_lost

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(600)]
SEED = 4
SELECTED = in_turn(random.Random(SEED).sample(AWAKE, 6))
IN_ORDER = (
    *(Step.PUT_WRITTEN, Step.PUT_COMMITTED, Step.RESERVE_BEFORE, Step.RESERVED, Step.RECORD_WRITTEN, Step.RECORD_COMMITTED),
    *(Step.START_BEFORE, Step.COMMAND_ADMITTED, Step.HOST_RECORD_BEFORE, Step.HOST_RECORD_SAVED, Step.COMMAND_DONE),
    *(Step.COMMAND_REMEMBERED, Step.START_SENT, Step.SPAWN_BEFORE, Step.PROCESS_RECORDED, Step.SPAWNED),
    *(Step.CANARY_BEFORE, Step.CANARY_PASSED, Step.PUBLISH_BEFORE, Step.SNAPSHOT_BEFORE, Step.SNAPSHOT_STORED, Step.ADS_TOLD),
    *(Step.PUBLISHED, Step.STOP_BEFORE, Step.STOP_SENT, Step.DRAIN_BEFORE, Step.DRAINED, Step.END_BEFORE, Step.GROUP_GONE),
    *(Step.CLEAN_BEFORE, Step.CLEANED, Step.RELEASE_BEFORE, Step.RELEASED, Step.FORGET_BEFORE, Step.HOST_FORGET_BEFORE),
    *(Step.FORGOTTEN, Step.FORGET_SENT),
)
"""The steps of a rollout, as the first replica to come and the first one to go pass them."""


def pairs(count: int) -> list[tuple[Step, Step]]:
    """Steps at which one program dies, and later ones, at which one dies while that is being mended: the rollout must yet pass those."""
    chance = random.Random(SEED)
    places = [sorted(chance.sample(range(len(IN_ORDER)), 2)) for _ in range(count)]
    return [(IN_ORDER[first], IN_ORDER[second]) for first, second in places]


@pytest.fixture(scope="module")
def bed() -> Iterator[CrashBed]:
    with CrashBed() as bed:
        yield bed


def test_row_01_a_selection_of_steps(bed: CrashBed) -> None:
    with bed.under_load(rate=10, long_streams=2, stream_s=1.5) as load:
        for step in SELECTED:
            with nothing_lost(load):
                bed.change(step)
                load.answer_at_least(10)
    assert load.lost == []


@pytest.mark.faults
@pytest.mark.parametrize("step", in_turn(AWAKE))
def test_row_01_every_step(bed: CrashBed, step: Step) -> None:
    with bed.under_load(rate=20, long_streams=4, stream_s=2.0) as load:
        load.answer_at_least(5)
        bed.change(step)
        load.answer_at_least(10)
    assert load.lost == []


@pytest.mark.faults
@pytest.mark.parametrize("steps", pairs(20), ids=" then ".join)
def test_row_01_two_steps_one_in_the_recovery_of_the_other(bed: CrashBed, steps: tuple[Step, Step]) -> None:
    with bed.under_load(rate=20, long_streams=4, stream_s=2.0) as load:
        load.answer_at_least(5)
        bed.change(*steps)
        load.answer_at_least(10)
    assert load.lost == []
