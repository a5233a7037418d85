"""Which replicas are so much slower than the others of their version that they are ejected for a while. Pure: times are passed in.

Envoy has no ejection by latency. What is compared, by medians of what ended in the last `window_s`, and each only with its like:

    time                                   of whom
    to the first byte, of a stream         the access log, once the stream has ended
    to the end, of a plain answer          the access log
    between two tokens of a stream         the middleware in the replica, while the stream runs

    a replica                    when
    is an outlier                its median is over `factor` times the median of the others' medians, by more than a floor, and what was
                                 slow began over `spread_s`: a pause delays what is under way once
    is excused                   it has far more under way than the others, and ends about as many: it has the longer queue
    is ejected                   for `ejected_s` times how often it was, up to `ejected_max_s`; `forgiven_s` in rotation take one time away
    comes back                   after that, or at once when too few others are left; it is measured anew

No more than half of a version's replicas are out, whatever took the others out: of one none, of two or three one. What most of them do is
the norm, so where all are slow, or most, none is ejected.
"""

import statistics
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum

from fleetform.domain.base import Record
from fleetform.domain.load import BOUNDS_MS, Histogram, cell_of

QUEUE_FACTOR, QUEUE_MORE = 3, 4
"""Requests under way, beside the others': so many times as many, and more than so many more, are a longer queue."""


class Kind(StrEnum):
    """What a time was measured of."""

    FIRST_BYTE = "the first byte of streams"
    WHOLE = "whole answers"
    PAUSE = "the pause between tokens"


FLOOR_MS = {Kind.FIRST_BYTE: 200.0, Kind.WHOLE: 200.0, Kind.PAUSE: 50.0}
"""A smaller difference is nobody's trouble, whatever its factor."""
LEAST = {Kind.FIRST_BYTE: 8, Kind.WHOLE: 8, Kind.PAUSE: 100}
"""From fewer times nothing is said, neither of a replica nor of those it is compared with."""


class Rules(Record, frozen=True, kw_only=True):
    """grace_s: from its first answer on, a replica that is new here is not measured: what is done for the first time is slow."""

    factor: float = 5.0
    window_s: float = 30.0
    spread_s: float = 5.0
    grace_s: float = 10.0
    ejected_s: float = 30.0
    ejected_max_s: float = 300.0
    forgiven_s: float = 120.0


class Sibling(Record, frozen=True, kw_only=True):
    """A replica as its route has it. well: it would be given requests. in_flight: under way at the proxy."""

    replica_id: str
    well: bool = True
    in_flight: int = 0


class Outliers:
    """Takes times as they come, by replica; `judge` says who is ejected. Times are of one monotonic clock, in seconds."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self._known: dict[str, _Known] = {}

    def answered(self, replica_id: str, kind: Kind, time_ms: float, lasted_s: float, now: float) -> None:
        """A request that has ended there just now, lasted_s after it began."""
        self._take(replica_id, kind, {cell_of(time_ms): 1}, now - lasted_s, now)

    def streamed(self, replica_id: str, gaps: Mapping[int, int], over_s: float, now: float) -> None:
        """The pauses of its streams in the last over_s: cell → how many."""
        self._take(replica_id, Kind.PAUSE, gaps, now - over_s, now)

    def judge(self, versions: Iterable[Collection[Sibling]], now: float) -> dict[str, str]:
        """Who is ejected now, and why in a sentence. versions: of each all its replicas; replicas that are in none are forgotten."""
        found = [list(version) for version in versions]
        named = {sibling.replica_id for version in found for sibling in version}
        for gone in self._known.keys() - named:
            del self._known[gone]
        for known in self._known.values():
            known.pass_on(now, self.rules)
        for version in found:
            self._judge(version, now)
        return {replica_id: known.why for replica_id, known in self._known.items() if known.is_ejected}

    def _take(self, replica_id: str, kind: Kind, cells: Mapping[int, int], begun: float, now: float) -> None:
        known = self._known.get(replica_id)
        if known is None:
            known = self._known[replica_id] = _Known(begun + self.rules.grace_s, now)
        if not known.is_ejected and begun >= known.since:
            known.take(kind, cells, begun, now)

    def _judge(self, version: list[Sibling], now: float) -> None:
        """Put back whom the others cannot spare, else eject as many as they can."""
        out = [sibling for sibling in version if self._is_ejected(sibling)]
        spared = len(version) // 2 - sum(not sibling.well and not self._is_ejected(sibling) for sibling in version)
        out.sort(key=lambda sibling: self._known[sibling.replica_id].until)
        for sibling in out[: max(0, len(out) - max(0, spared))]:
            self._known[sibling.replica_id].put_back(now)
        left = spared - len(out)
        if left <= 0:
            return
        serving = [s for s in version if s.well and not self._is_ejected(s) and s.replica_id in self._known]
        found = [(*slow, s.replica_id) for s in serving if (slow := self._slow(s, [o for o in serving if o is not s])) is not None]
        for _, why, replica_id in sorted(found, reverse=True)[:left]:
            self._known[replica_id].eject(why, now, self.rules)

    def _is_ejected(self, sibling: Sibling) -> bool:
        known = self._known.get(sibling.replica_id)
        return known is not None and known.is_ejected

    def _slow(self, sibling: Sibling, others: list[Sibling]) -> tuple[float, str] | None:
        """How many times as slow as the others it is, and in words; None when it is no outlier."""
        worst = None
        mine = self._known[sibling.replica_id]
        for kind in Kind:
            medians = [m for other in others if (m := self._known[other.replica_id].median_ms(kind)) is not None]
            median = mine.median_ms(kind)
            if median is None or not medians:
                continue
            norm = statistics.median(medians)
            is_slow = median > self.rules.factor * norm and median - norm > FLOOR_MS[kind]
            if not is_slow or mine.spread_s(kind, self.rules.factor * norm) < self.rules.spread_s:
                continue
            why = f"{kind} took {_span(median)}, {_span(norm)} at the others of its version"
            worst = max(worst or (0.0, ""), (median / norm, why))
        return None if worst is None or self._is_queue(sibling, others) else worst

    def _is_queue(self, sibling: Sibling, others: list[Sibling]) -> bool:
        """It has the longer queue for another reason than being slow. A slow one's is longer too, but it ends fewer."""
        usual = statistics.median(other.in_flight for other in others)
        if sibling.in_flight <= QUEUE_FACTOR * usual + QUEUE_MORE:
            return False
        ended = statistics.median(self._known[other.replica_id].ended for other in others)
        return self._known[sibling.replica_id].ended >= ended / 2


class _Known:
    """What is known of one replica. since: what began earlier does not count. until, why: it is ejected; times: how often, as counted.

    parts: by the second in which they ended, what was measured: kind → (second in which it began, cell) → how many. cells: their sums.
    """

    def __init__(self, since: float, now: float) -> None:
        self.since = since
        self.until = 0.0
        self.why = ""
        self._times = 0
        self._in_since = now
        self._parts: deque[tuple[int, dict[Kind, Counter[tuple[int, int]]]]] = deque()
        self._cells: dict[Kind, Counter[int]] = {kind: Counter() for kind in Kind}

    @property
    def is_ejected(self) -> bool:
        return bool(self.why)

    @property
    def ended(self) -> int:
        """Requests that have ended and were measured."""
        return self._cells[Kind.FIRST_BYTE].total() + self._cells[Kind.WHOLE].total()

    def take(self, kind: Kind, cells: Mapping[int, int], begun: float, now: float) -> None:
        if not self._parts or self._parts[-1][0] != int(now):
            self._parts.append((int(now), {}))
        counts = self._parts[-1][1].setdefault(kind, Counter())
        for cell, count in cells.items():
            counts[int(begun), cell] += count
            self._cells[kind][cell] += count

    def pass_on(self, now: float, rules: Rules) -> None:
        """Time has passed: forget what is old, put it back, forgive."""
        while self._parts and self._parts[0][0] < now - rules.window_s:
            for kind, counts in self._parts.popleft()[1].items():
                for (_, cell), count in counts.items():
                    self._cells[kind][cell] -= count
        if self.is_ejected and now >= self.until:
            self.put_back(now)
        elif not self.is_ejected and self._times and now - self._in_since >= rules.forgiven_s:
            self._times, self._in_since = self._times - 1, now

    def eject(self, why: str, now: float, rules: Rules) -> None:
        self._times += 1
        ejected_s = min(self._times * rules.ejected_s, rules.ejected_max_s)
        self._times = min(self._times, int(rules.ejected_max_s / rules.ejected_s))
        self.until, self.why = now + ejected_s, f"it gets no new requests for {ejected_s:.0f} s: {why}"

    def put_back(self, now: float) -> None:
        """What ends from now on and began before says nothing of how it does now."""
        self.since = self._in_since = now
        self.until, self.why = 0.0, ""
        self._parts.clear()
        self._cells = {kind: Counter() for kind in Kind}

    def median_ms(self, kind: Kind) -> float | None:
        """None from too few."""
        counts = +self._cells[kind]
        return Histogram(counts=dict(counts)).quantile_ms(0.5) if counts.total() >= LEAST[kind] else None

    def spread_s(self, kind: Kind, over_ms: float) -> float:
        """How far apart those over that time began."""
        found = {second for _, measured in self._parts for second, cell in measured.get(kind, ()) if _bound_ms(cell) > over_ms}
        return max(found) - min(found) if found else 0.0


def _bound_ms(cell: int) -> float:
    return BOUNDS_MS[min(cell, len(BOUNDS_MS) - 1)]


def _span(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"
