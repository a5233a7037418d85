"""What is learned from starts, and how long the next may take."""

import pytest

from fleetform.domain.rollout import StartTimes
from fleetform.planner.starts import learned, limit_s


@pytest.mark.parametrize(
    ("seconds", "p50", "p95"),
    [((3.0,), 3, 3), ((1.0, 9.0), 1, 9), ((5.0, 1.0, 3.0), 3, 5), (tuple(map(float, range(1, 101))), 50, 95)],
)
def test_percentiles(seconds: tuple[float, ...], p50: float, p95: float) -> None:
    assert learned(seconds) == StartTimes(p50_s=p50, p95_s=p95, count=len(seconds))


@pytest.mark.parametrize(
    ("p95", "count", "configured", "limit"),
    [
        (3.0, 4, 600, 600),
        (3.0, 5, 600, 240),
        (100.2, 5, 600, 301),
        (400.0, 50, 600, 1200),
        (3.0, 5, 20, 20),
        (10.0, 5, 20, 30),
    ],
    ids=["too few", "never below the floor", "three times what most took", "known to be slow", "configured below the floor", "slower"],
)
def test_a_start_may_take_what_starts_take(p95: float, count: int, configured: int, limit: int) -> None:
    assert limit_s(StartTimes(p50_s=1, p95_s=p95, count=count), configured) == limit


def test_what_is_not_known_is_configured() -> None:
    assert limit_s(None, 77) == 77
