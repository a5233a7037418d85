"""Durations as people write them."""

from datetime import timedelta

import pytest

from fleetform_sdk.durations import Duration, seconds


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("90s", 90),
        ("15m", 900),
        ("1h", 3600),
        ("30d", 2_592_000),
        ("45", 45),
        (" 5s ", 5),
        (12, 12),
        (0.5, 0.5),
        (timedelta(minutes=2), 120),
    ],
)
def test_seconds(written: Duration, expected: float) -> None:
    assert seconds(written) == expected


@pytest.mark.parametrize(
    "written", ["", "h", "1w", "1h30m", "-5s", "1.5h", -1, timedelta(seconds=-1), "9" * 400, float("inf"), float("nan")]
)
def test_anything_else_is_refused(written: Duration) -> None:
    with pytest.raises(ValueError, match=r"."):
        seconds(written)
