"""How the requests of every endpoint's tracks ended in the last hour, in buckets of five seconds. Pure: times are seconds since the epoch.

A bucket holds one byte for each time that was measured, its cell of the histogram: little for the many buckets with few requests,
and never more than a fast gateway can answer in an hour.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from fleetform.domain.load import BUCKET_S, Histogram, TrackWindow, Windows, cell_of

KEPT_S = 3600
BUCKETS_MAX = 200_000
"""Some 100 MB. A gateway with 1,000 endpoints that are all busy remembers a quarter of an hour with it."""
_CELL_MAX = 255


class Bucket:
    """One track of one endpoint in five seconds. ttft, latency: cells, one byte for each answer. gaps: cell → how many."""

    __slots__ = ("aborts", "errors", "gaps", "latency", "refusals", "requests", "ttft")

    def __init__(self) -> None:
        self.requests = self.errors = self.aborts = self.refusals = 0
        self.ttft, self.latency = bytearray(), bytearray()
        self.gaps: Counter[int] | None = None


class WindowStore:
    """Takes what has ended, gives it back by endpoint and time. Times may come late, in any order."""

    def __init__(self, buckets_max: int = BUCKETS_MAX) -> None:
        self._buckets_max = buckets_max
        self._by_tick: dict[int, dict[str, dict[str, Bucket]]] = {}
        self._count = 0
        self._forgotten = 0
        """The first tick that is remembered whole."""

    def answered(
        self,
        key: str,
        track: str,
        at: float,
        *,
        error: bool = False,
        abort: bool = False,
        refusal: bool = False,
        ttft_ms: float | None,
        latency_ms: float | None,
    ) -> None:
        """A request of that endpoint that ended at a replica of that track. None: there was no such time."""
        bucket = self._bucket(key, track, at)
        if bucket is None:
            return
        bucket.requests += 1
        bucket.errors += error
        bucket.aborts += abort
        bucket.refusals += refusal
        if ttft_ms is not None:
            bucket.ttft.append(min(cell_of(ttft_ms), _CELL_MAX))
        if latency_ms is not None:
            bucket.latency.append(min(cell_of(latency_ms), _CELL_MAX))

    def streamed(self, key: str, track: str, at: float, *, gaps: Mapping[int, int], failed: int, broken: int = 0) -> None:
        """What is said of streams of that track: gaps between tokens by cell, streams that ended in an error, and such that broke off."""
        bucket = self._bucket(key, track, at) if gaps or failed or broken else None
        if bucket is None:
            return
        bucket.errors += failed
        bucket.aborts += broken
        if gaps:
            bucket.gaps = bucket.gaps or Counter()
            bucket.gaps.update(gaps)

    def read(self, key: str, since: float, until: float) -> Windows:
        """What ended in the buckets that begin between since and until, the last as far as it is filled."""
        first = max(_ceil(since), self._forgotten)
        last = max(first, _ceil(until))
        found: dict[str, list[Bucket]] = {}
        for tick in range(first, last):
            for track, bucket in self._by_tick.get(tick, {}).get(key, {}).items():
                found.setdefault(track, []).append(bucket)
        tracks = tuple(_window(track, found[track]) for track in sorted(found))
        return Windows(since=_moment(first * BUCKET_S), until=_moment(max(first * BUCKET_S, until)), tracks=tracks)

    def recent(self, since: float, until: float) -> dict[str, Windows]:
        """The same of every endpoint of which requests ended in that time, by key."""
        ticks = range(_ceil(since), _ceil(until))
        keys = {key for tick in ticks for key in self._by_tick.get(tick, {})}
        return {key: self.read(key, since, until) for key in sorted(keys)}

    def forget(self, now: float) -> None:
        """Drop what is over an hour old, and the oldest beyond the number of buckets that are kept."""
        for tick in sorted(self._by_tick):
            if tick >= (now - KEPT_S) // BUCKET_S and self._count <= self._buckets_max:
                break
            self._count -= sum(len(tracks) for tracks in self._by_tick.pop(tick).values())
            self._forgotten = max(self._forgotten, tick + 1)

    def __len__(self) -> int:
        """How many buckets are kept."""
        return self._count

    def _bucket(self, key: str, track: str, at: float) -> Bucket | None:
        """None for what ended before all that is remembered."""
        tick = int(at // BUCKET_S)
        if tick < self._forgotten:
            return None
        tracks = self._by_tick.setdefault(tick, {}).setdefault(key, {})
        bucket = tracks.get(track)
        if bucket is None:
            bucket = tracks[track] = Bucket()
            self._count += 1
        return bucket


def _window(track: str, buckets: list[Bucket]) -> TrackWindow:
    return TrackWindow(
        track=track,
        requests=sum(bucket.requests for bucket in buckets),
        errors=sum(bucket.errors for bucket in buckets),
        aborts=sum(bucket.aborts for bucket in buckets),
        refusals=sum(bucket.refusals for bucket in buckets),
        ttft=_histogram(bucket.ttft for bucket in buckets),
        latency=_histogram(bucket.latency for bucket in buckets),
        gaps=Histogram(counts=dict(sum((bucket.gaps for bucket in buckets if bucket.gaps), Counter()))),
    )


def _histogram(parts: Iterator[bytearray]) -> Histogram:
    """A Counter counts bytes; all at once is ten times as fast as array by array."""
    return Histogram(counts=dict(Counter(b"".join(parts))))


def _ceil(at: float) -> int:
    """The first bucket that begins at that time or later."""
    return -int(-at // BUCKET_S)


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
