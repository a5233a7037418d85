"""Turns planned routes and the access rules into snapshot updates, and knows which of them every gateway has in force.

Each gateway is told what differs from what it was told last, in one update for all that has come together since. Versions are
`epoch << 32 | n`, so that they grow over all leaders. A gateway that is elsewhere than expected names its version; it is then told
everything on top of that. What is not known here is never removed there.
"""

import asyncio
import itertools
from collections.abc import Callable, Collection, Iterable

import structlog

from fleetform.domain.protocol import GatewayReport
from fleetform.drivers.base import Driver
from fleetform.errors import HostUnreachable, NotLeader
from fleetform.gateway.snapshot import (
    Access,
    Applied,
    EndpointRoute,
    Inconsistent,
    NeedsFull,
    SnapshotUpdate,
    Superseded,
    problems,
)
from fleetform.planner.model import Published
from fleetform.steps import Step, step

log = structlog.get_logger(__name__)
RETRY_S = 0.5
LONGEST_UPDATE = 500
"""Routes per update, so that a restart with thousands of endpoints does not become one message."""


class Gateway:
    """What one gateway has been told. base: the version it stands at; None: not known yet. floor: base when its last report had come.

    dirty: keys to be told. sent: key → the version that carried it. pending: those of them that are not acknowledged.
    """

    def __init__(self) -> None:
        self.base: int | None = None
        self.floor = 0
        self.dirty: dict[str, None] = {}
        self.sent: dict[str, int] = {}
        self.pending: dict[str, int] = {}
        self.access_dirty = True
        self.wake = asyncio.Event()
        self.report: GatewayReport | None = None


class Publisher:
    """The routes of one leader's epoch. A route of None has been removed.

    on_acked: called with keys that turn out to be in force when their publishing is answered: the gateway's report came before its answer.
    """

    def __init__(self, driver: Driver, epoch: int, on_acked: Callable[[Iterable[str]], None] = lambda _: None) -> None:
        self._driver = driver
        self._epoch = epoch
        self._on_acked = on_acked
        self._numbers = itertools.count(1)
        self._routes: dict[str, EndpointRoute | None] = {}
        self._refused: dict[str, str] = {}
        self._access: Access | None = None
        self._gateways: dict[str, Gateway] = {}
        self._left_out: frozenset[str] = frozenset()

    def add_gateway(self, host: str) -> None:
        """A host turned out to be a gateway: it is told everything. `serve` must run for it."""
        gateway = self._gateways[host] = Gateway()
        gateway.dirty = dict.fromkeys(self._routes)
        gateway.wake.set()

    def put(self, route: EndpointRoute) -> None:
        """Publish route. One that contradicts itself is kept back and told in `published`."""
        found = problems(route)
        if found:
            self._refused[route.key] = "; ".join(found)
            return
        self._refused.pop(route.key, None)
        self._set(route.key, route)

    def remove(self, key: str) -> None:
        """Take a route away."""
        self._refused.pop(key, None)
        self._set(key, None)

    def forget(self, key: str) -> None:
        """The endpoint is a tombstone: its removal need not be remembered, but for a gateway that is left out and has yet to be told."""
        if self._routes.get(key, ...) is None and all(_has_acked(gateway, key) for gateway in self._gateways.values()):
            del self._routes[key]
            for gateway in self._gateways.values():
                gateway.sent.pop(key, None)
                gateway.pending.pop(key, None)

    def allow(self, access: Access) -> None:
        """Publish who may come in; nothing when nothing has changed."""
        if access != self._access:
            self._access = access
            for gateway in self._gateways.values():
                gateway.access_dirty = True
                gateway.wake.set()

    def published(self, key: str, project: str, endpoint: str) -> Published | None:
        """What the gateways were told of an endpoint, for the planner. None: no gateway has a route of it.

        Before the first word of this leader it is a route of which nothing is known.
        """
        if key not in self._routes:
            unknown = EndpointRoute(project=project, endpoint=endpoint, generation=-1, created=0)
            return Published(route=unknown, acked=False, rejected=self._refused.get(key, ""))
        route = self._routes[key]
        # With all of them lost nobody knows what is in force anywhere.
        awaited = [gateway for host, gateway in self._gateways.items() if host not in self._left_out] or [*self._gateways.values()]
        acked = bool(awaited) and all(_has_acked(gateway, key) for gateway in awaited)
        if route is None and acked:
            return None
        words = [g.report.rejected[key] for g in awaited if g.report is not None and key in g.report.rejected]
        return Published(route=route, acked=acked, rejected=self._refused.get(key, words[0] if words else ""))

    def leave_out(self, hosts: Collection[str]) -> set[str]:
        """Of these alone no acknowledgement is waited for: they are silent for too long. The keys for which that changes something."""
        left_out = self._gateways.keys() & frozenset(hosts)
        changed, self._left_out = left_out ^ self._left_out, frozenset(left_out)
        return {key for host in changed for key in (*self._gateways[host].dirty, *self._gateways[host].pending)}

    def heard(self, host: str, report: GatewayReport) -> set[str]:
        """Take in what a gateway acknowledged; the keys of which it says something new."""
        gateway = self._gateways[host]
        # One that was left out counts again at once, and is waited for with all that it has missed.
        missed = {*gateway.dirty, *gateway.pending} if host in self._left_out else set()
        self._left_out -= {host}
        before, gateway.report = gateway.report, report
        if report.version < gateway.floor:
            # It was asked after it had confirmed more: its disk was lost, or an older one was put back.
            log.warning("gateway_went_back", host=host, version=report.version, told=gateway.floor)
            self._tell_all(gateway, report.version)
        gateway.floor = gateway.base or 0
        acked = {key for key, version in gateway.pending.items() if report.acked_version >= version}
        for key in acked:
            del gateway.pending[key]
        words = report.rejected.items() ^ (before.rejected.items() if before is not None else set())
        return missed | acked | {key for key, _ in words}

    async def serve(self, host: str) -> None:
        """Tell one gateway whatever is new, until cancelled. NotLeader when it has heard of a newer leader."""
        gateway = self._gateways[host]
        while True:
            await gateway.wake.wait()
            gateway.wake.clear()
            try:
                await self.tell(host)
            except HostUnreachable as error:
                log.warning("publish_failed", host=host, error=error.message)
                await asyncio.sleep(RETRY_S)
                gateway.wake.set()

    async def tell(self, host: str) -> None:
        """Tell one gateway all that is new, and return. HostUnreachable; NotLeader when it has heard of a newer leader."""
        gateway = self._gateways[host]
        while gateway.dirty or gateway.access_dirty:
            await self._send(host, gateway)

    def _set(self, key: str, route: EndpointRoute | None) -> None:
        if key in self._routes and self._routes[key] == route:
            return
        self._routes[key] = route
        for gateway in self._gateways.values():
            gateway.dirty[key] = None
            gateway.wake.set()

    def _tell_all(self, gateway: Gateway, version: int) -> None:
        """Tell it everything on top of the version it stands at."""
        gateway.base = version
        gateway.dirty = dict.fromkeys(self._routes)
        gateway.access_dirty = True
        gateway.wake.set()

    def _refuse(self, keys: list[str], words: str) -> None:
        """A gateway took none of these, though they were checked here: a bug, shown on each of them instead of sent for ever."""
        log.error("routes_refused", keys=keys, problems=words)
        for key in keys:
            self._refused[key] = words
            for gateway in self._gateways.values():
                gateway.dirty.pop(key, None)

    async def _send(self, host: str, gateway: Gateway) -> None:
        keys = list(itertools.islice(gateway.dirty, LONGEST_UPDATE))
        version = self._epoch << 32 | next(self._numbers)
        if gateway.base is None:
            gateway.base = 0 if gateway.report is None else gateway.report.version
        routes = {key: self._routes.get(key) for key in keys}
        access = self._access if gateway.access_dirty else None
        update = SnapshotUpdate(
            epoch=self._epoch,
            version=version,
            base=gateway.base,
            upsert=tuple(route for route in routes.values() if route is not None),
            remove=tuple(key for key, route in routes.items() if route is None),
            access=access,
        )
        step(Step.PUBLISH_BEFORE)
        result = await self._driver.publish(host, update)
        step(Step.PUBLISHED)
        match result:
            case Applied():
                gateway.base = version
                for key, route in routes.items():
                    gateway.sent[key] = gateway.pending[key] = version
                    if self._routes.get(key) == route:
                        gateway.dirty.pop(key, None)
                if access is self._access:
                    gateway.access_dirty = False
                acked = [key for key in keys if _has_acked(gateway, key)]
                for key in acked:
                    del gateway.pending[key]
                self._on_acked(acked)
            case NeedsFull():
                self._tell_all(gateway, result.version)
            case Superseded():
                raise NotLeader(f"gateway {host} has seen epoch {result.epoch}", epoch=self._epoch, seen=result.epoch)
            case Inconsistent():
                self._refuse(keys, "; ".join(result.problems))


def _has_acked(gateway: Gateway, key: str) -> bool:
    if key in gateway.dirty or key not in gateway.sent or gateway.report is None:
        return False
    return gateway.report.acked_version >= gateway.sent[key] and key not in gateway.report.rejected
