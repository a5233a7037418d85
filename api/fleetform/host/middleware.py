"""The time limit of a request, enforced inside the replica by vLLM's `--middleware fleetform.host.middleware.RequestTimeout`.

Whatever has a limit came through the gateway. On its way the pauses of its stream are counted, and told at `statistics.PATH`. What has
none may be the host, which is also listened to at `control.PATHS`.

Envoy says how long in `x-ff-timeout-s`. A plain answer must be whole by then. A stream must have begun by then, and after that may pause
for at most STREAM_PAUSE_S, and so may its reader, once no more fits into the buffers between. Here, and not in the proxy, because only here
the engine can be told to stop working on it, and because the proxy would try a request that it timed out itself on another replica.

If this process dies, the host says the last event of its streams (farewells/).

What an engine that has died answers is an error about itself. Nothing of that goes out: the proxy is told to try another replica.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fleetform.host.farewells.deposit import Farewell, Line
from fleetform.host.pool import control
from fleetform.host.statistics import PATH, Statistics, tells_error

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

HEADER = b"x-ff-timeout-s"
BOUNCE_HEADER = b"x-ff-bounce"
"""Both as in gateway/routing.py, which an engine does not import."""
STREAM_PAUSE_S = 60.0
TELL_WAIT_S = 1.0
LEAVE_WAIT_S = 1.0
CANCEL_WAIT_S = 5.0
GONE: Message = {"type": "http.disconnect"}


class RequestTimeout:
    """ASGI middleware. Without the header, or with one that is no number above 0, it changes nothing."""

    def __init__(self, app: App, stream_pause_s: float = STREAM_PAUSE_S) -> None:
        self.app = app
        self.stream_pause_s = stream_pause_s
        self.statistics = Statistics()
        self.line = Line()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        limit_s = _limit(scope)
        if limit_s is None:
            if scope["type"] == "http" and scope["path"] == PATH:
                await _send_json(send, 200, self.statistics.shown())
                return
            if scope["type"] == "http" and scope["path"] in control.PATHS:
                self.line.close()  # nothing is under way any more, and what is to lie on disk may be connected to nobody
                await _send_json(send, *await control.asked(scope))
                return
            await self.app(scope, receive, send)
            return
        farewell = Farewell(self.line, scope, receive)
        answer = _Answer(send, limit_s, self.stream_pause_s, self.statistics, farewell, lambda: _has_died(scope))
        client = _Client(receive)
        work = asyncio.ensure_future(self.app(scope, client.receive, answer.send))
        self.statistics.begun += 1
        try:
            await answer.watch(work)
        finally:
            farewell.end()
            self.statistics.ended += 1
            await client.leave(work)
            # It is over at once, unless something in it refuses to end.
            work.cancel()
            await asyncio.wait({work}, timeout=CANCEL_WAIT_S)


class _Client:
    """What comes from the client, who may be made to leave: that is what makes the engine abort the request.

    vLLM runs a request in a task beside the one that is called, and ends it when the client disconnects. Cancelled itself, it would
    leave that task behind, and the engine at work on what nobody waits for.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._left = asyncio.Event()

    async def receive(self) -> Message:
        """The next message, or that the client has left."""
        if self._left.is_set():
            return GONE
        message, left = asyncio.ensure_future(self._receive()), asyncio.ensure_future(self._left.wait())
        try:
            await asyncio.wait({message, left}, return_when=asyncio.FIRST_COMPLETED)
            return message.result() if message.done() else GONE
        finally:
            message.cancel()
            left.cancel()

    async def leave(self, work: "asyncio.Future[None]") -> None:
        """Disconnect, and give work a moment to end by itself."""
        self._left.set()
        if not work.done():
            await asyncio.wait({work}, timeout=LEAVE_WAIT_S)


class _Answer:
    """One answer on its way out. Its head is held back until the first byte, so that a late one can still become a 504."""

    def __init__(
        self, send: Send, limit_s: float, stream_pause_s: float, statistics: Statistics, farewell: Farewell, has_died: Callable[[], bool]
    ) -> None:
        self.forward = send
        self.farewell = farewell
        self.has_died = has_died
        self.statistics = statistics
        self.limit_s = limit_s
        self.stream_pause_s = stream_pause_s
        self.deadline = asyncio.get_running_loop().time() + limit_s
        self.head: Message | None = None
        self.begun = False
        self.is_over = False
        self.is_stream = False
        self.failed = False
        self.part_at: float | None = None

    async def send(self, message: Message) -> None:
        if self.is_over:
            return
        if message["type"] == "http.response.start":
            self.head = message
            return
        if self.head is not None and not self.begun and (message.get("body") or not message.get("more_body")):
            self.is_stream = _is_event_stream(self.head)
            if (self.head["status"] >= 500 or (self.is_stream and tells_error(message.get("body", b"")))) and self.has_died():
                await self.bounce()
                return
            self.begun = True
            await self.forward(self.head)
            if self.is_stream:
                await self.farewell.begin(self.head.get("headers", ()))
        if self.is_over or not self.begun:
            return  # it timed out while its head went out; or it is an empty first part of a body, which says nothing
        is_part = self.is_stream and bool(message.get("body"))
        if is_part:
            self.count(message["body"])
        self.farewell.before(message.get("body", b""), is_last=not message.get("more_body"))
        await self.forward(message)
        self.farewell.after()
        if is_part:
            self.wait()

    def count(self, part: bytes) -> None:
        """A part of a stream goes out, as soon as its reader has room for it."""
        now = asyncio.get_running_loop().time()
        self.deadline = now + self.stream_pause_s
        self.statistics.parts += 1
        if self.part_at is not None:
            self.statistics.gap(now - self.part_at)
        if tells_error(part):
            self.fail()

    def wait(self) -> None:
        """It is out, and the engine's next one is waited for."""
        self.part_at = asyncio.get_running_loop().time()
        self.deadline = self.part_at + self.stream_pause_s

    def fail(self) -> None:
        """The stream holds an error; it counts once."""
        self.statistics.streams_failed += not self.failed
        self.failed = True

    async def watch(self, work: "asyncio.Future[None]") -> None:
        """Until work is done, or its deadline, which moves while a stream flows, has passed."""
        while not work.done():
            remaining = self.deadline - asyncio.get_running_loop().time()
            if remaining <= 0:
                await self.time_out()
                return
            # A stream that begins meanwhile may have the earlier deadline.
            await asyncio.wait({work}, timeout=min(remaining, self.stream_pause_s))
        work.result()

    async def bounce(self) -> None:
        """Have it tried elsewhere. A client sees this only when the proxy has tried as often as it may."""
        self.is_over = True
        content = _error("The engine of this replica has died.", "server_error", "no_ready_replica")
        await _send_json(self.forward, 503, content, (BOUNCE_HEADER, b"1"), (b"retry-after", b"1"))

    async def time_out(self) -> None:
        """Tell the client, in the form that still fits."""
        self.is_over = True
        self.farewell.end()
        if not self.begun:
            await self._send_504()
        elif self.is_stream:
            error = json.dumps(_error(f"no token for {self.stream_pause_s:g} s")).encode()
            # A reader that has stopped has no room for this either: it is cut off as below, and the proxy's log counts what broke off.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TELL_WAIT_S):
                    await self.forward({"type": "http.response.body", "body": b"data: " + error + b"\n\n", "more_body": False})
                self.fail()
        else:
            # Half of a plain answer is out. Ending without its last byte makes the server cut the connection, which is all that is left.
            return

    async def _send_504(self) -> None:
        words = f"the request took longer than the endpoint's request_timeout_s of {self.limit_s:g} s"
        await _send_json(self.forward, 504, _error(words))


async def _send_json(send: Send, status: int, content: dict[str, Any], *more: tuple[bytes, bytes]) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _limit(scope: Message) -> float | None:
    if scope["type"] != "http":
        return None
    for name, value in scope["headers"]:
        if name == HEADER and value.isdigit() and int(value) > 0:
            return float(int(value))
    return None


def _has_died(scope: Message) -> bool:
    """True when vLLM itself says that its engine core or a worker is gone; another application says nothing."""
    engine = getattr(getattr(scope.get("app"), "state", None), "engine_client", None)
    return bool(getattr(engine, "errored", False))


def _is_event_stream(head: Message) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in head.get("headers", ()))


def _error(message: str, type_: str = "timeout_error", code: str = "request_timeout") -> dict[str, Any]:
    return {"error": {"message": message, "type": type_, "param": None, "code": code}}
