"""What is learned from starts, and how long the next may therefore take."""

import math
from collections.abc import Sequence

from fleetform.domain.rollout import StartTimes

ENOUGH = 5
"""Starts that must be known before they say how long the next may take."""
PATIENCE = 3.0
FLOOR_S = 240
"""A start that is usually quick may have to be slow: without a zygote it imports everything, on a machine that has other work."""


def learned(seconds: Sequence[float]) -> StartTimes:
    """From one or more starts; a percentile of few is the nearest start that is not shorter."""
    ordered = sorted(seconds)

    def percentile(share: float) -> float:
        return ordered[min(len(ordered), math.ceil(share * len(ordered))) - 1]

    return StartTimes(p50_s=percentile(0.5), p95_s=percentile(0.95), count=len(ordered))


def limit_s(known: StartTimes | None, configured_s: int) -> int:
    """How long a start may take: what is configured until enough is known; then PATIENCE times what all but few took.

    Never below FLOOR_S, nor what is configured when that is less; above what is configured only where starts are known to take so long.
    """
    if known is None or known.count < ENOUGH:
        return configured_s
    return max(min(FLOOR_S, configured_s), math.ceil(PATIENCE * known.p95_s))
