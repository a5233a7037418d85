"""Who has how much under way at this machine's proxy, looked at every second.

A glance at the counters of all clusters costs Envoy 3 ms at 1,000 endpoints; its hosts are then asked for only where something is under
way or has moved. A proxy that does not answer leaves no sample, so that the time of the newest one shows how old everything is.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

import structlog

from fleetform.domain.load import EndpointLoad, GatewayLoad, ReplicaLoad
from fleetform.gateway import admin
from fleetform.gateway.admin import Count, address_text
from fleetform.gateway.served import Served
from fleetform.gateway.snapshot import EndpointRoute
from fleetform.gateway.timeline import BURST_S, STABLE_S, Timeline
from fleetform.settings import Settings

EVERY_S = 1.0
SAVE_EVERY_S = 10.0
ASKED_TOGETHER = 100
"""Clusters in one question; their names must fit into Envoy's limit of 60 KiB for a request's head."""

log = structlog.get_logger(__name__)
Hosts = Mapping[str, Mapping[str, Count]]
Routes = Callable[[], Mapping[str, EndpointRoute]]


class Sampler:
    """`run` looks for ever; `load` says what was seen. routes: what is routed now, by key. clock: seconds that never go back."""

    def __init__(self, settings: Settings, routes: Routes, clock: Callable[[], float] = time.monotonic) -> None:
        self._socket: Path = settings.envoy_admin_socket
        self._activator = str(settings.activator_socket)
        self._routes = routes
        self._clock = clock
        self._served = Served(settings.home / "gateway" / "served.json")
        self._endpoints = Timeline()
        self._replicas = Timeline()
        self._queued: dict[str, int] = {}
        self._in_flight: dict[str, int] = {}
        self._clusters: dict[str, Count] | None = None
        self._saved_at = 0.0
        self._at: datetime | None = None
        self._since: datetime | None = None

    async def run(self) -> None:
        """Look every second, for ever."""
        while True:
            try:
                await self.look()
            except (ConnectionRefusedError, FileNotFoundError):
                self._proxy_gone()
            except (OSError, ValueError, IndexError) as error:
                log.warning("proxy_not_sampled", error=str(error))
            except Exception:
                log.exception("proxy_not_sampled")
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Take one sample. OSError when the proxy does not answer; nothing has changed then."""
        clusters = await admin.cluster_counts(self._socket)
        routed = {key: clusters[key] for key in self._routes() if key in clusters}
        busy = self._busy(routed)
        hosts = await self._hosts(busy)
        self._clusters = routed
        self._take(self._clock(), hosts, routed, busy)
        if self._clock() - self._saved_at >= SAVE_EVERY_S:
            self._saved_at = self._clock()
            self.save()

    def load(self) -> GatewayLoad | None:
        """What was seen last; None before the first sample."""
        if self._at is None or self._since is None:
            return None
        stable, burst = self._endpoints.averages(STABLE_S), self._endpoints.averages(BURST_S)
        endpoints = tuple(
            EndpointLoad(
                key=key,
                stable=round(stable.get(key, 0.0), 3),
                burst=round(burst.get(key, 0.0), 3),
                queued=self._queued.get(key, 0),
                idle_s=round(idle_s, 3),
            )
            for key, idle_s in sorted(self._endpoints.active().items())
        )
        replicas = tuple(self._replica(replica_id) for replica_id in sorted(self._replicas.active()))
        return GatewayLoad(at=self._at, since=self._since, endpoints=endpoints, replicas=replicas)

    def in_flight(self, replica_id: str) -> int | None:
        """Requests under way at a replica when last looked; None when that is too long ago to say."""
        at = self._endpoints.at
        if at is None or self._clock() - at > 3 * EVERY_S:
            return None
        return self._in_flight.get(replica_id, 0)

    def save(self) -> None:
        """Keep the counts for the next worker. A full disk is told to the log, and tried again."""
        known = {target.replica_id for route in self._routes().values() for track in route.tracks for target in track.targets}
        try:
            self._served.save(known)
        except OSError as error:
            log.warning("served_not_saved", error=str(error))

    def _busy(self, clusters: Mapping[str, Count]) -> list[str]:
        """Clusters with something under way now or at the last look, or that have had a request in between."""
        before = self._clusters or {}
        return [key for key, count in clusters.items() if count.active or count != before.get(key)]

    async def _hosts(self, busy: list[str]) -> Hosts:
        """The hosts of these clusters; of all at once where more than half are busy, which is then the shorter way."""
        if 2 * len(busy) > max(len(self._routes()), ASKED_TOGETHER):
            return await admin.host_counts(self._socket)
        found: dict[str, Mapping[str, Count]] = {}
        for first in range(0, len(busy), ASKED_TOGETHER):
            found |= await admin.host_counts(self._socket, busy[first : first + ASKED_TOGETHER])
        return found

    def _take(self, at: float, hosts: Hosts, clusters: Mapping[str, Count], busy: Collection[str]) -> None:
        routes = self._routes()
        # Of what was counted before the first look nobody knows when it was.
        moved = set(busy) if self._endpoints.at is not None else set()
        self._queued, self._in_flight = {}, {}
        under_way, moved_replicas = {}, set()
        for key, counts in hosts.items():
            route = routes.get(key)
            if route is None or key not in clusters:  # of all that were asked for, some never had a request
                continue
            # The cluster's own number has those as well that an Envoy still has which was exchanged for this one.
            under_way[key] = max(clusters[key].active, sum(count.active for count in counts.values()))
            if self._activator in counts:
                self._queued[key] = counts[self._activator].active
            for replica_id, count in _replicas(route, counts):
                self._in_flight[replica_id] = count.active
                if self._served.see(replica_id, count.total) and key in moved:
                    moved_replicas.add(replica_id)
        self._endpoints.add(at, under_way, moved)
        self._replicas.add(at, self._in_flight, moved_replicas)
        self._at = datetime.now(UTC)
        if self._endpoints.since == at:
            self._since = self._at

    def _replica(self, replica_id: str) -> ReplicaLoad:
        in_flight = self._in_flight.get(replica_id, 0)
        return ReplicaLoad(replica_id=replica_id, in_flight=in_flight, served=max(0, self._served.total(replica_id) - in_flight))

    def _proxy_gone(self) -> None:
        if self._clusters is not None:
            self._served.restarted()
        self._clusters = None


def _replicas(route: EndpointRoute, counts: Mapping[str, Count]) -> list[tuple[str, Count]]:
    """The replicas of route that the proxy has as hosts."""
    targets = [(target.replica_id, address_text(target.address)) for track in route.tracks for target in track.targets]
    return [(replica_id, counts[address]) for replica_id, address in targets if address in counts]
