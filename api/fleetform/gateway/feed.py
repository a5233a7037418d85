"""The gateway's feed: takes snapshot updates, stores them, and tells every Envoy of this machine. Runs inside the host worker."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from fleetform.domain.protocol import GatewayReport
from fleetform.gateway import admin
from fleetform.gateway.ads import AdsServer
from fleetform.gateway.delta import Resource, resource
from fleetform.gateway.filters import JWT_FILTER, REVOKED_FILTER, TYPE_FILTER, jwt_filter, revoked_filter
from fleetform.gateway.resources import TYPE_ASSIGNMENT, TYPE_CLUSTER, assignment, cluster
from fleetform.gateway.rotation import keep_bounded
from fleetform.gateway.snapshot import Access, Applied, EndpointRoute, PublishResult, RoutingSnapshot, SnapshotUpdate
from fleetform.gateway.store import SnapshotStore
from fleetform.gateway.waiting import InForce, WaitingRoom
from fleetform.settings import Settings
from fleetform.steps import Step, step


class GatewayFeed:
    """start, then publish as updates come. Until a snapshot says who may come in, Envoy is told nothing and stays shut.

    on_change is called on the event loop whenever `report()` may have changed.
    """

    def __init__(self, settings: Settings, on_change: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._on_change = on_change
        self._store = SnapshotStore(settings.home / "gateway")
        self._ads = AdsServer(settings.ads_socket, self._noticed)
        self._lock = asyncio.Lock()
        self._versions: deque[tuple[int, int]] = deque()
        self._acked_version = 0
        self._out: frozenset[str] = frozenset()
        self.waiting = WaitingRoom(settings.waiting_socket, self._in_force, on_change)
        self._rotation: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def start(self) -> None:
        """Serve what is stored, at once."""
        stored = self._store.snapshot
        await self._ads.start()
        await self.waiting.start()
        self._tell(RoutingSnapshot(), stored)
        self._rotation = asyncio.create_task(keep_bounded(self._settings))

    async def stop(self) -> None:
        """Close the stream and the files. Envoy goes on with what it has."""
        if self._rotation is not None:
            self._rotation.cancel()
        await self.waiting.stop()
        await self._ads.stop()
        self._store.close()

    async def publish(self, update: SnapshotUpdate) -> PublishResult:
        """Store update, then send what differs. Applied says that it is on disk; `report().acked_version` that it is in force."""
        async with self._lock:
            before = self._store.snapshot
            step(Step.SNAPSHOT_BEFORE)
            result = await asyncio.to_thread(self._store.publish, update)
            step(Step.SNAPSHOT_STORED)
            if isinstance(result, Applied) and not result.repeated:
                self._tell(before, self._store.snapshot)
                step(Step.ADS_TOLD)
                self._on_change()
                self.waiting.tell()
            return result

    def report(self) -> GatewayReport:
        """What is stored, and what the live Envoys have acknowledged of it."""
        self._count_acknowledged()
        stored = self._store.snapshot
        return GatewayReport(
            epoch=stored.epoch,
            version=stored.version,
            acked_version=self._acked_version,
            proxy_alive=self.connected > 0,
            rejected=self._ads.rejected(),
            waiting=self.waiting.counts(),
        )

    def take_out(self, replica_ids: frozenset[str]) -> None:
        """These replicas, and no others, get nothing new from the Envoys of this machine, whatever the snapshot says of them.

        What they have under way stays with them. It holds until the next call, and needs no server.
        """
        turned, self._out = self._out ^ replica_ids, replica_ids
        stored = self._store.snapshot
        routes = [route for route in stored.routes.values() if turned & _replicas(route)] if turned else []
        if routes and stored.access is not None:
            self._ads.publish([each for route in routes for each in self._route_resources(route)], [])
        self.waiting.tell()

    async def taken(self, limit_s: float) -> None:
        """Return when the live Envoys have taken all that they were told, or after limit_s."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not self._ads.is_taken:
                    self._news.clear()
                    await self._news.wait()

    @property
    def routes(self) -> Mapping[str, EndpointRoute]:
        """What is routed now, by key."""
        return self._store.snapshot.routes

    @property
    def connected(self) -> int:
        """How many Envoys are connected and have been told everything at least once."""
        return self._ads.connected

    async def in_flight(self, key: str, replica_ids: Iterable[str]) -> dict[str, int]:
        """Replica → requests under way at the proxy. A replica that the route `key` does not name is left out.

        OSError when Envoy does not answer.
        """
        wanted = set(replica_ids)
        counts = (await admin.in_flight(self._settings.envoy_admin_socket, [key])).get(key, {})
        route = self._store.snapshot.routes.get(key)
        targets = [target for track in route.tracks for target in track.targets] if route else []
        return {t.replica_id: counts.get(admin.address_text(t.address), 0) for t in targets if t.replica_id in wanted}

    def _tell(self, before: RoutingSnapshot, after: RoutingSnapshot) -> None:
        if after.access is None:
            return
        same_access = before.access is after.access or before.access == after.access
        changed = [] if same_access else _access_resources(after.access)
        known = before.routes if before.access is not None else {}
        for key, route in after.routes.items():
            if known.get(key) is not route and known.get(key) != route:
                changed.extend(self._route_resources(route))
        gone = [(type_url, key) for key in known.keys() - after.routes.keys() for type_url in (TYPE_CLUSTER, TYPE_ASSIGNMENT)]
        self._versions.append((self._ads.publish(changed, gone), after.version))

    def _route_resources(self, route: EndpointRoute) -> list[Resource]:
        activator = str(self._settings.activator_socket)
        return [
            resource(TYPE_CLUSTER, route.key, cluster(route)),
            resource(TYPE_ASSIGNMENT, route.key, assignment(route, activator, self._out)),
        ]

    def _noticed(self) -> None:
        self._news.set()
        self._count_acknowledged()
        self._on_change()
        self.waiting.tell()

    def _in_force(self) -> InForce:
        return InForce(version=self._store.snapshot.version, acked_version=self._acked_version, out=tuple(sorted(self._out)))

    def _count_acknowledged(self) -> None:
        acknowledged = self._ads.acknowledged()
        while self._versions and self._versions[0][0] <= acknowledged:
            self._acked_version = self._versions.popleft()[1]


def _replicas(route: EndpointRoute) -> set[str]:
    return {target.replica_id for track in route.tracks for target in track.targets}


def _access_resources(access: Access) -> list[Resource]:
    return [
        resource(TYPE_FILTER, JWT_FILTER, jwt_filter(access)),
        resource(TYPE_FILTER, REVOKED_FILTER, revoked_filter(access)),
    ]
