"""Row 1: every step is one at which a test has a program die. What rows 1 and 2 leave out has tests of its own; no new one is missed."""

from fleetform.steps import Step
from tests.harness.crashing import ASLEEP, FORKED, ON_DISK
from tests.host import test_snapshot_deaths, test_warm_pool_deaths
from tests.host.zygote.test_trust import FORKED_IN_VAIN

BY_SIMULATION = frozenset({Step.EVICT_SENDING, Step.EVICT_SENT})
"""Around one command of the server, which the simulated server dies before and after; the host's side dies for real."""


def test_row_01_the_steps_that_a_stack_does_not_pass_are_died_at_elsewhere() -> None:
    asleep = {*test_warm_pool_deaths.FALLING, *test_warm_pool_deaths.WAKING, *test_warm_pool_deaths.ENDING}
    on_disk = {*test_snapshot_deaths.FREEZING, *test_snapshot_deaths.THAWING, *test_snapshot_deaths.DISCARDING}
    assert asleep | BY_SIMULATION >= ASLEEP
    assert on_disk >= ON_DISK
    assert {*FORKED_IN_VAIN} == FORKED
