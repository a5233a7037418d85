"""Row 1: server or host worker killed (SIGKILL) at every step of a rollout: no request is lost, the rollout goes on, nothing is doubled."""

import random
from collections.abc import Iterator

import pytest

from fleetform.steps import Step
from tests.harness.crashing import RENEWED, TAKEN, VERIFIED, CrashBed, in_turn
from tests.harness.load import nothing_lost

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(600)]
SEED = 4
SELECTED = in_turn(random.Random(SEED).sample(tuple(Step), 6))
REPEATED = tuple(step for step in Step if step not in RENEWED | TAKEN | VERIFIED)


def pairs(count: int) -> list[tuple[str, str]]:
    """Steps at which one program dies, and at which one dies while that is being mended."""
    chance = random.Random(SEED)
    return [(chance.choice(REPEATED), f"{chance.choice(REPEATED)}:{chance.randint(1, 2)}") for _ in range(count)]


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
@pytest.mark.parametrize("step", in_turn(Step))
def test_row_01_every_step(bed: CrashBed, step: Step) -> None:
    with bed.under_load(rate=20, long_streams=4, stream_s=2.0) as load:
        load.answer_at_least(5)
        bed.change(step)
        load.answer_at_least(10)
    assert load.lost == []


@pytest.mark.faults
@pytest.mark.parametrize("steps", pairs(20), ids=" then ".join)
def test_row_01_two_steps_one_in_the_recovery_of_the_other(bed: CrashBed, steps: tuple[str, str]) -> None:
    with bed.under_load(rate=20, long_streams=4, stream_s=2.0) as load:
        load.answer_at_least(5)
        bed.change(*steps)
        load.answer_at_least(10)
    assert load.lost == []
