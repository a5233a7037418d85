"""A minute of what a proxy had under way, and its averages. Pure: times are handed in, in seconds of one clock."""

from collections import deque
from collections.abc import Collection, Mapping
from typing import NamedTuple

STABLE_S = 60.0
BURST_S = 6.0
GAP_S = 5.0
"""After so long without a sample nobody knows what was under way: counting begins anew."""
FIRST_S = 1.0
"""The time that a first sample stands for."""


class Sample(NamedTuple):
    """at: when it was taken. lasted: the seconds before it that it stands for. under_way: key → requests, without zeros."""

    at: float
    lasted: float
    under_way: Mapping[str, int]


class Timeline:
    """Samples of the last STABLE_S. since: when counting began; None before the first sample."""

    def __init__(self) -> None:
        self.since: float | None = None
        self._samples: deque[Sample] = deque()
        self._last_active: dict[str, float] = {}

    @property
    def at(self) -> float | None:
        """When the newest sample was taken; None when there is none."""
        return self._samples[-1].at if self._samples else None

    def add(self, at: float, under_way: Mapping[str, int], moved: Collection[str] = ()) -> None:
        """A sample, later than all before. moved: keys that have had a request since the last one, even if it is over."""
        before = self.at
        if before is None or at - before > GAP_S:
            self._samples.clear()
            self._last_active.clear()
            self.since, lasted = at, FIRST_S
        else:
            lasted = at - before
        present = {key: count for key, count in under_way.items() if count}
        self._samples.append(Sample(at, lasted, present))
        self._last_active.update((key, at) for key in (*present, *moved))
        while self._samples[0].at <= at - STABLE_S:
            self._samples.popleft()
        self._last_active = {key: last for key, last in self._last_active.items() if last > at - STABLE_S}

    def active(self) -> dict[str, float]:
        """Seconds since the last request, of every key that has had one within STABLE_S."""
        at = self.at
        return {} if at is None else {key: at - last for key, last in self._last_active.items()}

    def averages(self, window_s: float) -> dict[str, float]:
        """Requests under way, averaged over the last window_s, or over all the time there is; keys that had none are left out."""
        sums: dict[str, float] = {}
        covered = 0.0
        for sample in reversed(self._samples):
            lasted = min(sample.lasted, window_s - covered)
            if lasted <= 0:
                break
            covered += lasted
            for key, count in sample.under_way.items():
                sums[key] = sums.get(key, 0.0) + count * lasted
        return {key: total / covered for key, total in sums.items()}
