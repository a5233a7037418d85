"""Waiting for something to become true, with a deadline and a reason."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(what: str, probe: Callable[[], T | None], timeout_s: float = 30, every_s: float = 0.05) -> T:
    """The first value of probe that is neither None nor False; AssertionError naming `what` when none comes in time."""
    deadline = time.monotonic() + timeout_s
    last: BaseException | None = None
    while time.monotonic() < deadline:
        try:
            value = probe()
        except (OSError, AssertionError) as error:
            last, value = error, None
        if value:
            return value
        time.sleep(every_s)
    raise AssertionError(f"not within {timeout_s} s: {what}" + (f" ({last})" if last else ""))
