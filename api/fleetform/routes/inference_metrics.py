"""What `/metrics` says of inference: each endpoint's rate, latency, errors and queue of the last minute, and its replicas.

family                        per
inference_requests_per_sec    variant and version
inference_latency_ms          variant and version: quantiles of whole answers, from where a replica was handed the request
inference_ttft_ms             variant and version: quantiles of the time to the first byte, counted the same way
inference_error_rate          variant and version: 0 to 1
inference_queue_depth         endpoint: requests that wait for a replica now
inference_replica_count       variant, version and phase
inference_replicas_ejected    variant and version: ready, and without new requests for being slow; left out where there are none
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fleetform.domain.load import Histogram, HostLoad, TrackWindow, Windows, merged
from fleetform.domain.replica import ReplicaPhase
from fleetform.store.counting import ReplicaCount

WINDOW_S = 60
QUANTILES = (0.5, 0.95, 0.99)
_VARIANT = ("project", "endpoint", "variant", "model_version")


class InferenceMetrics(Collector):
    """A collector of one scrape. windows: of each gateway, by endpoint key."""

    def __init__(self, replicas: Collection[ReplicaCount], loads: Collection[HostLoad], windows: Collection[Mapping[str, Windows]]) -> None:
        self._replicas = replicas
        self._loads = loads
        self._windows = {key: together for key in _keys(windows) if (together := merged(each[key] for each in windows if key in each))}
        self._versions = {(c.project, c.endpoint, c.track): c.model_version for c in replicas}

    def registry(self) -> CollectorRegistry:
        """A registry of this scrape alone."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return registry

    def collect(self) -> Iterable[Metric]:
        """The families."""
        rate = GaugeMetricFamily("inference_requests_per_sec", "Requests that ended at replicas, in the last minute.", labels=_VARIANT)
        errors = GaugeMetricFamily("inference_error_rate", "Share of them that ended in an error of the replica.", labels=_VARIANT)
        latency = GaugeMetricFamily("inference_latency_ms", "Time of a whole answer at its replica.", labels=(*_VARIANT, "quantile"))
        ttft = GaugeMetricFamily("inference_ttft_ms", "Time to an answer's first byte at its replica.", labels=(*_VARIANT, "quantile"))
        for labels, window, seconds in self._tracks():
            rate.add_metric(labels, window.requests / seconds)
            if window.requests:
                errors.add_metric(labels, min(1.0, window.errors / window.requests))
            _add_quantiles(latency, labels, window.latency)
            _add_quantiles(ttft, labels, window.ttft)
        return (rate, errors, latency, ttft, self._queues(), self._counts(), self._ejected())

    def _tracks(self) -> Iterator[tuple[tuple[str, ...], TrackWindow, float]]:
        for key, windows in sorted(self._windows.items()):
            project, _, endpoint = key.partition("/")
            seconds = (windows.until - windows.since).total_seconds()
            for window in windows.tracks if seconds > 0 else ():
                variant = window.track.rpartition(".")[0]
                yield (project, endpoint, variant, self._versions.get((project, endpoint, window.track), "")), window, seconds

    def _queues(self) -> Metric:
        family = GaugeMetricFamily("inference_queue_depth", "Requests that wait for a replica now.", labels=_VARIANT[:2])
        waiting: dict[str, int] = {}
        for endpoint in (endpoint for load in self._loads if load.gateway is not None for endpoint in load.gateway.endpoints):
            waiting[endpoint.key] = waiting.get(endpoint.key, 0) + endpoint.queued
        for key, count in sorted(waiting.items()):
            project, _, name = key.partition("/")
            family.add_metric((project, name), count)
        return family

    def _counts(self) -> Metric:
        family = GaugeMetricFamily("inference_replica_count", "Replicas there are.", labels=(*_VARIANT, "phase"))
        counts: dict[tuple[str, ...], int] = {}
        for found in self._replicas:
            labels = (found.project, found.endpoint, found.track.rpartition(".")[0], found.model_version, found.phase.value)
            counts[labels] = counts.get(labels, 0) + found.count
        for each, count in counts.items():
            family.add_metric(each, count)
        return family

    def _ejected(self) -> Metric:
        family = GaugeMetricFamily("inference_replicas_ejected", "Ready replicas that get nothing new for being slow.", labels=_VARIANT)
        counts: Counter[tuple[str, ...]] = Counter()
        for found in self._replicas:
            if found.slow and found.phase is ReplicaPhase.READY:
                counts[found.project, found.endpoint, found.track.rpartition(".")[0], found.model_version] += found.slow
        for labels, count in counts.items():
            family.add_metric(labels, count)
        return family


def _keys(windows: Collection[Mapping[str, Windows]]) -> set[str]:
    return {key for each in windows for key in each}


def _add_quantiles(family: GaugeMetricFamily, labels: tuple[str, ...], times: Histogram) -> None:
    for quantile in QUANTILES:
        time_ms = times.quantile_ms(quantile)
        if time_ms is not None:
            family.add_metric((*labels, str(quantile)), time_ms)
