"""One request to the activator."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

from fleetform.gateway.activator import answers
from fleetform.gateway.activator.answers import HOPELESS, Answer
from fleetform.gateway.activator.hold import Hold, Place
from fleetform.gateway.activator.models import models, one_model, scopes_of
from fleetform.gateway.activator.tries import Tries
from fleetform.gateway.chain import ENDPOINT_HEADER
from fleetform.gateway.filters import PROJECT_HEADER
from fleetform.gateway.resources import ACTIVATOR_HEADER
from fleetform.gateway.routing import ATTEMPT_HEADER, SCOPES_HEADER, STARTED_HEADER
from fleetform.gateway.snapshot import EndpointRoute
from fleetform.gateway.store import SnapshotReader

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Headers = dict[str, str]

_MODELS = "/v1/models"


class Activator:
    """The ASGI application. clock: seconds since the epoch."""

    def __init__(self, reader: SnapshotReader, hold: Hold, clock: Callable[[], float] = time.time) -> None:
        self._reader = reader
        self._hold = hold
        self._tries = Tries()
        self._clock = clock

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        body = _Body(receive)
        found = self._at_once(scope["path"], headers)
        answer = await self._settled(found, body) if isinstance(found, Place) else found
        # An answer before the end of the body would make Envoy give the connection up.
        if answer is not None and await body.is_read():
            await _send(send, answer)

    def _at_once(self, path: str, headers: Headers) -> Answer | Place:
        """What is answered without waiting, or a place in the line."""
        routes = self._reader.snapshot().routes
        if path == _MODELS or path.startswith(f"{_MODELS}/"):
            project, scopes = headers.get(PROJECT_HEADER, ""), scopes_of(headers.get(SCOPES_HEADER, "[]"))
            if path == _MODELS:
                return models(routes, project, scopes)
            return one_model(routes, project, scopes, unquote(path.removeprefix(f"{_MODELS}/")))
        route = routes.get(headers.get(ENDPOINT_HEADER, ""))
        if route is None:
            return answers.not_declared(headers.get(ENDPOINT_HEADER, "").partition("/")[2])
        if route.phase in HOPELESS:
            return answers.hopeless(route)
        return self._enter(route, headers)

    def _enter(self, route: EndpointRoute, headers: Headers) -> Answer | Place:
        started_at = _number(headers.get(STARTED_HEADER, ""), self._clock())
        tried = self._tries.arrived(headers.get("x-request-id", ""), int(_number(headers.get(ATTEMPT_HEADER, ""), 1)))
        # Only engines without our middleware have Envoy end what takes too long, which then tries elsewhere and at last here.
        if route.command_engine and tried.failures and self._clock() - started_at >= route.request_timeout_s:
            return answers.too_slow(route)
        size = int(_number(headers.get("content-length", ""), 0))
        if tried.is_over:
            return answers.failed_too_often(route, tried.attempt)
        return self._hold.enter(route, size, tried, started_at)

    async def _settled(self, place: Place, body: "_Body") -> Answer | None:
        """What ends the wait; None when the client has left."""
        leaving = asyncio.ensure_future(body.left())
        try:
            tasks: set[asyncio.Future[Any]] = {leaving, place.answer}
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return place.answer.result() if place.answer.done() and not body.has_left else None
        finally:
            leaving.cancel()
            self._hold.leave(place)


class _Body:
    """The body of a request, read and dropped: Envoy has it. has_left: the client, or Envoy, is gone."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read = False
        self.has_left = False

    async def left(self) -> None:
        """Return when the client has left."""
        while not self.has_left:
            await self._next()

    async def is_read(self) -> bool:
        """Read to the end; False when the client leaves before."""
        while not self._read and not self.has_left:
            await self._next()
        return self._read

    async def _next(self) -> None:
        message = await self._receive()
        self.has_left = message["type"] == "http.disconnect"
        self._read |= not self.has_left and not message.get("more_body", False)


def _number(text: str, default: float) -> float:
    try:
        return float(text)
    except ValueError:
        return default


async def _send(send: Send, answer: Answer) -> None:
    headers = {"content-type": "application/json", "content-length": str(len(answer.body)), ACTIVATOR_HEADER: "1", **answer.headers}
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body})
