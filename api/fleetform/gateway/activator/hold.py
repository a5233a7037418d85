"""The requests that wait, and what ends their wait: a replica that is in force and answers, an endpoint that will not come, the deadline.

Looked at when a request comes, when the worker says that something is in force, and four times a second while replicas are routed that
do not answer.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterable

import structlog

from fleetform.domain.replica import Address, Loopback, Unix
from fleetform.gateway.activator import answers
from fleetform.gateway.activator.answers import BOUNCE, HOPELESS, Answer
from fleetform.gateway.activator.line import Line
from fleetform.gateway.activator.link import WorkerLink
from fleetform.gateway.activator.tries import Try
from fleetform.gateway.snapshot import EndpointRoute, RoutingSnapshot, Target
from fleetform.gateway.store import SnapshotReader
from fleetform.settings import Settings

log = structlog.get_logger(__name__)
LOOK_S = 0.25
RELEASED_TOGETHER = 100
"""A crowd goes in parts of so many: a replica accepts connections one by one, and refuses what its queue of them cannot hold."""
_BETWEEN_PARTS_S = 0.02
_CONNECT_S = 0.2
_SOONER_S = 0.1
"""So much before Envoy's own limit, where it has one: what it ends by itself it would try again."""
_NOBODY = " The control plane does not answer, and nothing is started without it; requests are held in the meantime."
_NO_WORKER = " The host process does not answer, and nothing is started without it; requests are held in the meantime."


class Place:
    """One request that waits. since, deadline, not_before: by the loop's clock. answer: what ends the wait."""

    def __init__(self, route: EndpointRoute, size: int, tried: Try, since: float, deadline: float) -> None:
        self.key, self.project, self.size = route.key, route.project, size
        self.tried = tried
        self.since, self.deadline = since, deadline
        self.not_before = since + tried.pause_s
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.timers: list[asyncio.TimerHandle] = []

    def settle(self, answer: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


class Hold:
    """`enter`, wait for the place's answer, `leave`; `run` must be running. clock: seconds since the epoch."""

    def __init__(self, settings: Settings, reader: SnapshotReader, clock: Callable[[], float] = time.time) -> None:
        self._reader = reader
        self._clock = clock
        self._line = Line(settings.hold_requests, settings.hold_mib << 20)
        self._held: dict[str, list[Place]] = {}
        self._woken_at: dict[str, float] = {}
        self._seen: dict[str, tuple[EndpointRoute, int]] = {}
        self._due: set[str] = set()
        self._between_parts: set[str] = set()
        self._wake = asyncio.Event()
        self.link = WorkerLink(settings.waiting_socket, self.counts, self._look_at_all)

    def counts(self) -> dict[str, int]:
        """Endpoint key → requests that wait for it."""
        return {key: len(places) for key, places in self._held.items()}

    def enter(self, route: EndpointRoute, size: int, tried: Try, started_at: float) -> Place | Answer:
        """A place in the line, or why there is none. size: of the body. started_at: when Envoy got the request, by the clock."""
        now, left_s = self._clock(), started_at + route.request_timeout_s - _SOONER_S - self._clock()
        if left_s <= 0:
            return self._too_late(route, now - started_at)
        if not self._line.enter(route.project, size):
            return answers.queue_full(route, self._remaining_s(route))
        loop = asyncio.get_running_loop()
        place = Place(route, size, tried, loop.time(), loop.time() + left_s)
        self._held.setdefault(place.key, []).append(place)
        self._woken_at.setdefault(place.key, now)
        place.timers.append(loop.call_at(place.deadline, self._expire, place))
        if place.not_before > place.since:
            place.timers.append(loop.call_at(place.not_before, self._look_at, [place.key]))
        self._look_at([place.key])
        self.link.changed()
        return place

    def leave(self, place: Place) -> None:
        """The wait is over, or the client has left."""
        place.answer.cancel()
        for timer in place.timers:
            timer.cancel()
        places = self._held[place.key]
        places.remove(place)
        if not places:
            for kept in (self._held, self._woken_at, self._seen):
                kept.pop(place.key, None)
        self._line.leave(place.project, place.size)
        self.link.changed()

    def let_go(self) -> None:
        """Send everything back: this activator ends, and Envoy brings it to the next."""
        for places in self._held.values():
            for place in places:
                place.settle(BOUNCE)

    async def run(self) -> None:
        """Look at what waits whenever that may end a wait, until cancelled."""
        silent: set[str] = set()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S if silent else None):
                    await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due | silent, set()
            try:
                snapshot = self._reader.snapshot()
                silent = {key for key in due if key in self._held and await self._look(key, snapshot)}
            except Exception:
                # Whoever waits must not wait for nothing: it is looked at again, and the deadlines hold anyway.
                log.exception("look_failed")
                silent = due

    def _look_at(self, keys: Iterable[str]) -> None:
        self._due.update(keys)
        self._wake.set()

    def _look_at_all(self) -> None:
        self._look_at(self._held)

    async def _look(self, key: str, snapshot: RoutingSnapshot) -> bool:
        """End the waits for one endpoint where something ends them; True when its replicas are in force and do not answer."""
        route = snapshot.routes.get(key)
        if route is None or route.phase in HOPELESS:
            verdict = answers.not_declared(key.partition("/")[2]) if route is None else answers.hopeless(route)
            for place in self._held.get(key, ()):
                place.settle(verdict)
            return False
        if key in self._between_parts or not self._is_in_force(route, snapshot.version):
            return False
        if not await _answers(self._in_rotation(route)):
            return True
        loop = asyncio.get_running_loop()
        ready = [place for place in self._held.get(key, ()) if place.not_before <= loop.time() and not place.answer.done()]
        for place in ready[:RELEASED_TOGETHER]:
            place.settle(answers.failed_too_often(route, place.tried.attempt) if place.tried.is_over else BOUNCE)
        if len(ready) > RELEASED_TOGETHER:
            self._between_parts.add(key)
            loop.call_later(_BETWEEN_PARTS_S, self._next_part, key)
        return False

    def _next_part(self, key: str) -> None:
        self._between_parts.discard(key)
        self._look_at([key])

    def _is_in_force(self, route: EndpointRoute, version: int) -> bool:
        """True when every Envoy has a route with a replica to answer. Without the worker nobody knows, and it is tried."""
        seen = self._seen.get(route.key)
        if seen is None or (seen[0] is not route and seen[0] != route):
            seen = self._seen[route.key] = (route, version)
        in_force = self.link.in_force
        return bool(self._in_rotation(route)) and (in_force is None or in_force.acked_version >= seen[1])

    def _in_rotation(self, route: EndpointRoute) -> list[Target]:
        out = () if self.link.in_force is None else self.link.in_force.out
        return [target for target in open_targets(route) if target.replica_id not in out]

    def _expire(self, place: Place) -> None:
        if place.answer.done():
            return
        route = self._reader.snapshot().routes.get(place.key)
        held_s = asyncio.get_running_loop().time() - place.since
        place.settle(answers.not_declared(place.key.partition("/")[2]) if route is None else self._too_late(route, held_s))

    def _too_late(self, route: EndpointRoute, held_s: float) -> Answer:
        if open_targets(route):
            return answers.no_replica(route, held_s, self._away())
        return answers.not_ready(route, held_s, self._remaining_s(route), self._away())

    def _remaining_s(self, route: EndpointRoute) -> int | None:
        now = self._clock()
        return answers.remaining_s(route, now, self._woken_at.get(route.key, now))

    def _away(self) -> str:
        """Who does not answer, in a sentence."""
        in_force = self.link.in_force
        if in_force is None:
            return _NO_WORKER
        return "" if in_force.server_heard else _NOBODY


def open_targets(route: EndpointRoute) -> list[Target]:
    """The replicas that should get requests."""
    return [target for track in route.tracks if track.weight for target in track.targets if not target.draining]


async def _answers(targets: list[Target]) -> bool:
    """True when one of them takes a connection: that a replica has died, or has more than it can take, is seen here first."""
    for target in targets:
        try:
            await _connect(target.address)
        except (OSError, TimeoutError):
            continue
        return True
    return False


async def _connect(address: Address) -> None:
    """Connect and hang up; OSError or TimeoutError when nobody takes it."""
    match address:
        case Unix(path=path):
            # Not asyncio's, which takes a connection for made that a full queue has refused.
            with socket.socket(socket.AF_UNIX) as connection:
                connection.setblocking(False)
                connection.connect(path)
        case Loopback(port=port):
            async with asyncio.timeout(_CONNECT_S):
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
        case _:
            raise OSError("not on this machine")
