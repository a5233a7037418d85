"""Durations as people write them."""

import math
import re
from datetime import timedelta

Duration = str | float | timedelta
"""`"90s"`, `"15m"`, `"1h"`, `"30d"`, a number of seconds, or a timedelta."""

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]+)([smhd]?)")


def seconds(duration: Duration) -> float:
    """duration in seconds. ValueError: not a duration, a negative one, or one without an end."""
    if isinstance(duration, timedelta):
        value = duration.total_seconds()
    elif isinstance(duration, str):
        match = _DURATION.fullmatch(duration.strip())
        if match is None:
            raise ValueError(f"{duration!r} is not a duration; write it as '90s', '15m', '1h' or '30d'")
        value = float(match[1]) * _UNITS_S[match[2] or "s"]
    else:
        value = float(duration)
    if value < 0:
        raise ValueError(f"{duration!r} is negative")
    if not math.isfinite(value):
        raise ValueError(f"{duration!r} has no end that could be waited for")
    return value
