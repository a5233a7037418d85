"""Thousands of seeds, and proof that the simulation would see what it looks for."""

import sys
from collections.abc import Callable
from datetime import datetime

import msgspec
import pytest
import structlog

from fleetform.domain.replica import Replica
from fleetform.planner import commands, lifecycle, warmth
from fleetform.reconciler.publisher import Publisher
from tests.conftest import SEEDS
from tests.simulation.healing import NotConverged
from tests.simulation.machines import Broken
from tests.simulation.seeds import simulate

CHUNK = 500


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Chunks of --seeds; more than `make test` runs belong to `make test-faults`."""
    if "first" in metafunc.fixturenames:
        wanted = metafunc.config.getoption("seeds")
        marks = (pytest.mark.faults,) if wanted > SEEDS else ()
        metafunc.parametrize("first", [pytest.param(first, marks=marks) for first in range(0, wanted, CHUNK)])


@pytest.fixture(autouse=True)
def _quiet_log() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


def broken(seeds: range) -> list[str]:
    """One line for each seed that is broken; `python -m tests.simulation SEED` tells its story."""
    found = []
    for seed in seeds:
        try:
            simulate(seed)
        except Exception as error:
            found.append(f"seed {seed}: {type(error).__name__}: {str(error)[:300]}")
    return found


@pytest.mark.timeout(900)
def test_seeds(first: int) -> None:
    assert broken(range(first, first + CHUNK)) == []


def test_a_seed_always_tells_the_same_story() -> None:
    told: list[list[str]] = [[], []]
    for story in told:
        simulate(7, story.append)
    assert told[0] == told[1]
    assert len(told[0]) > 20


def stop_at_once(_draft: object, _replica: Replica) -> bool:
    """As if engines were stopped before the proxies let go of them."""
    return True


def let_sleep(_draft: object) -> tuple[()]:
    """As if nobody ended the sleeping engines of an endpoint that goes."""
    return ()


def forget_hints(_publisher: Publisher, _host: str, _report: object) -> set[str]:
    """As if nobody were told what a gateway has acknowledged."""
    return set()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("owner", "name", "mistake"),
    [(commands, "_may_stop", stop_at_once), (Publisher, "heard", forget_hints), (warmth, "evictions", let_sleep)],
)
def test_a_mistake_is_found(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, mistake: Callable[..., object]) -> None:
    monkeypatch.setattr(owner, name, mistake)
    with pytest.raises((Broken, NotConverged)):
        for seed in range(100):
            simulate(seed)


@pytest.mark.timeout(120)
def test_a_start_that_is_dropped_without_its_hosts_word_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mistake that this simulation found first: a replica that was being placed counted as never started."""
    proper = lifecycle.draining

    def at_once(replica: Replica, now: datetime) -> Replica:
        ended = proper(replica, now)
        if replica.phase is lifecycle.P.PLACING:
            return msgspec.structs.replace(ended, phase=lifecycle.P.STOPPED)
        return ended

    monkeypatch.setattr(sys.modules["fleetform.planner.plan"], "draining", at_once)
    with pytest.raises((Broken, NotConverged)):
        for seed in range(2_000):
            simulate(seed)
