"""What gateways and hosts measure: who is busy with how much, and how the versions of an endpoint do in the same time.

Everything here may be missing or old. What has not been measured is None, never 0.
"""

import bisect
import itertools
from collections.abc import Iterable, Sequence
from datetime import datetime

from fleetform.domain.base import Record

BOUNDS_MS: tuple[float, ...] = tuple(round(1.1**power, 6) for power in range(160))
"""Upper bounds of a histogram's cells in milliseconds, 1 ms to an hour, each a tenth above the one before; a last cell holds the rest."""


class Histogram(Record, frozen=True, kw_only=True):
    """Times in cells of BOUNDS_MS, so that those of several gateways can be added. counts: cell → how many; empty cells are left out."""

    counts: dict[int, int] = {}

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def quantile_ms(self, share: float) -> float | None:
        """The time within which that share (0–1) lies, rounded up to its cell's bound; None when there are none."""
        if not self.counts:
            return None
        rank = max(1, -(-int(self.total * share * 1_000_000) // 1_000_000))
        cells = sorted(self.counts)
        sums = itertools.accumulate(self.counts[cell] for cell in cells)
        cell = next(cell for cell, reached in zip(cells, sums, strict=True) if reached >= rank)
        return BOUNDS_MS[min(cell, len(BOUNDS_MS) - 1)]


def cell_of(time_ms: float) -> int:
    """The cell of a histogram that a time belongs to."""
    return bisect.bisect_left(BOUNDS_MS, time_ms)


def added(histograms: Iterable[Histogram]) -> Histogram:
    """All of them as one."""
    counts: dict[int, int] = {}
    for histogram in histograms:
        for cell, count in histogram.counts.items():
            counts[cell] = counts.get(cell, 0) + count
    return Histogram(counts=counts)


class EndpointLoad(Record, frozen=True, kw_only=True):
    """One endpoint at one gateway. key: `project/endpoint`. stable, burst: requests under way at replicas or held by the activator,
    averaged over 60 s and 6 s. queued: held by the activator now. idle_s: seconds since the last of either.
    """

    key: str
    stable: float
    burst: float
    queued: int = 0
    idle_s: float = 0.0


class ReplicaLoad(Record, frozen=True, kw_only=True):
    """One replica at one gateway. in_flight: requests under way now. served: requests that have ended there since it was first routed."""

    replica_id: str
    in_flight: int
    served: int


class GatewayLoad(Record, frozen=True, kw_only=True):
    """One gateway. at: when it was counted. since: when counting began; averages from less than a minute are not whole.

    An endpoint or replica that is left out has had nothing under way for a minute; `idle_s` of such an endpoint is unknown, and long.
    """

    at: datetime
    since: datetime
    endpoints: tuple[EndpointLoad, ...] = ()
    replicas: tuple[ReplicaLoad, ...] = ()


class EngineLoad(Record, frozen=True, kw_only=True):
    """What one engine says of itself, and its process group's memory. None: it does not say.

    token_capacity: tokens that its KV cache holds; kv_usage: the share in use, 0–1. waiting: requests in its own queue.
    """

    replica_id: str
    at: datetime
    running: int | None = None
    waiting: int | None = None
    kv_usage: float | None = None
    token_capacity: int | None = None
    prompt_tokens_mean: float | None = None
    memory_mib: int | None = None


class HostLoad(Record, frozen=True, kw_only=True):
    """Everything one host measures. gateway None: it has no proxy. at: when it answered, by the clock of all times in here."""

    host: str
    at: datetime | None = None
    gateway: GatewayLoad | None = None
    engines: tuple[EngineLoad, ...] = ()


class TrackWindow(Record, frozen=True, kw_only=True):
    """How the requests of one track ended in a time, at one gateway or summed over several.

    errors: 5xx of the replica, and streams that ended in an error. refusals: 4xx of the replica. aborts: answers that broke off or that
    the client left.
    ttft: to the first byte. latency: whole answers. gaps: between the tokens of a stream, as the middleware in the replica sees them.
    """

    track: str
    requests: int = 0
    errors: int = 0
    aborts: int = 0
    refusals: int = 0
    ttft: Histogram = Histogram()
    latency: Histogram = Histogram()
    gaps: Histogram = Histogram()


def summed(track: str, parts: Sequence[TrackWindow]) -> TrackWindow:
    """All of them as one, under that name."""
    return TrackWindow(
        track=track,
        requests=sum(part.requests for part in parts),
        errors=sum(part.errors for part in parts),
        aborts=sum(part.aborts for part in parts),
        refusals=sum(part.refusals for part in parts),
        ttft=added(part.ttft for part in parts),
        latency=added(part.latency for part in parts),
        gaps=added(part.gaps for part in parts),
    )


BUCKET_S = 5
"""The slices of time that gateways count requests in."""


class Windows(Record, frozen=True, kw_only=True):
    """One endpoint's tracks between two moments; since is later than asked for where the gateway does not remember so far back."""

    since: datetime
    until: datetime
    tracks: tuple[TrackWindow, ...] = ()


def merged(windows: Iterable[Windows]) -> Windows | None:
    """The windows of several gateways as one, by track; None of none."""
    found = list(windows)
    if not found:
        return None
    by_track: dict[str, list[TrackWindow]] = {}
    for window in (track for windows_of in found for track in windows_of.tracks):
        by_track.setdefault(window.track, []).append(window)
    tracks = tuple(summed(track, parts) for track, parts in sorted(by_track.items()))
    return Windows(since=max(w.since for w in found), until=min(w.until for w in found), tracks=tracks)
