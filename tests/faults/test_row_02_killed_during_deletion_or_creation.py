"""Row 2: server or host worker killed while an endpoint is created and deleted: deletion wins, and 404 says that nothing of it is left."""

import random
from collections.abc import Iterator

import pytest

from fleetform.steps import Step
from tests.harness.crashing import LIVING, CrashBed, in_turn

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(600)]
SELECTED = in_turn(random.Random(2).sample(LIVING, 4))


@pytest.fixture(scope="module")
def bed() -> Iterator[CrashBed]:
    with CrashBed() as bed:
        yield bed


def test_row_02_a_selection_of_steps(bed: CrashBed) -> None:
    with bed.under_load(rate=10, long_streams=2, stream_s=1.5) as load:
        for step in SELECTED:
            bed.create_and_delete(step)
    assert load.lost == []


@pytest.mark.faults
@pytest.mark.parametrize("step", LIVING)
def test_row_02_every_step(bed: CrashBed, step: Step) -> None:
    with bed.under_load(rate=20, long_streams=4, stream_s=2.0) as load:
        bed.create_and_delete(step)
    assert load.lost == []
