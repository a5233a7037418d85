"""The time limit of a request: each of its outcomes, and that the engine's work is cancelled with it."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from fleetform.domain import load
from fleetform.gateway import routing
from fleetform.host import middleware as middleware_module
from fleetform.host.middleware import BOUNCE_HEADER, HEADER, Message, Receive, RequestTimeout, Send
from fleetform.host.statistics import BOUNDS_MS, PATH

pytestmark = pytest.mark.anyio


class App:
    """An ASGI application that sends what it was given, pausing before each part; it notices when it is cancelled."""

    def __init__(self, content_type: bytes, parts: list[tuple[float, bytes]]) -> None:
        self.content_type = content_type
        self.parts = parts
        self.cancelled = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", self.content_type)]})
            for index, (pause_s, body) in enumerate(self.parts):
                await asyncio.sleep(pause_s)
                await send({"type": "http.response.body", "body": body, "more_body": index < len(self.parts) - 1})
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def answer(app: App, limit: bytes | None, stream_pause_s: float = 60) -> tuple[int, bytes, bool]:
    """Status, body, and whether the answer was ended in order."""
    return await through(RequestTimeout(app, stream_pause_s), limit)


async def through(middleware: RequestTimeout, limit: bytes | None, path: str = "/v1/completions") -> tuple[int, bytes, bool]:
    """The same, of a middleware that goes on living."""
    sent = await messages(middleware, limit, path)
    (start,) = [m for m in sent if m["type"] == "http.response.start"] or [{"status": 0}]
    bodies = [m for m in sent if m["type"] == "http.response.body"]
    return start["status"], b"".join(m["body"] for m in bodies), bool(bodies) and not bodies[-1]["more_body"]


async def messages(middleware: RequestTimeout, limit: bytes | None, path: str = "/v1/completions") -> list[Any]:
    """All that the server is given to send."""
    sent: list[Any] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [] if limit is None else [(b"x-ff-timeout-s", limit)]
    await middleware({"type": "http", "path": path, "headers": headers}, receive, send)
    return sent


JSON, STREAM = b"application/json", b"text/event-stream; charset=utf-8"
NEVER = 30.0


@pytest.mark.parametrize("limit", [None, b"10", b"0", b"soon", b"-1", b"1.5"])
async def test_an_answer_in_time_is_untouched(limit: bytes | None) -> None:
    app = App(JSON, [(0, b"{"), (0, b"}")])
    assert await answer(app, limit) == (200, b"{}", True)


async def test_a_late_answer_is_504_and_its_work_is_cancelled() -> None:
    app = App(JSON, [(NEVER, b"{}")])
    status, body, ended = await answer(app, b"1")
    error = json.loads(body)["error"]
    assert (status, error["code"], error["type"], error["param"], ended) == (504, "request_timeout", "timeout_error", None, True)
    assert app.cancelled


async def test_a_stream_that_does_not_begin_is_504() -> None:
    app = App(STREAM, [(0, b""), (NEVER, b"data: 1\n\n")])
    status, body, _ = await answer(app, b"1")
    assert (status, json.loads(body)["error"]["code"]) == (504, "request_timeout")
    assert app.cancelled


async def test_a_stream_may_take_longer_than_the_limit_once_it_has_begun() -> None:
    app = App(STREAM, [(0.0, b"a"), (0.4, b"b"), (0.4, b"c"), (0.4, b"")])
    assert await answer(app, b"1", stream_pause_s=5) == (200, b"abc", True)
    assert not app.cancelled


@pytest.mark.parametrize("limit", [b"1", b"600"])
async def test_a_stream_that_pauses_too_long_ends_with_an_error_event_and_without_done(limit: bytes) -> None:
    app = App(STREAM, [(0, b"data: 1\n\n"), (NEVER, b"data: [DONE]\n\n")])
    async with asyncio.timeout(1.5):
        status, body, ended = await answer(app, limit, stream_pause_s=0.1)
    first, error, rest = body.split(b"\n\n")
    assert (status, first, rest, ended) == (200, b"data: 1", b"", True)
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "request_timeout"
    assert app.cancelled


async def test_half_of_a_plain_answer_is_cut_off() -> None:
    app = App(JSON, [(0, b"{"), (NEVER, b"}")])
    assert await answer(app, b"1") == (200, b"{", False)
    assert app.cancelled


async def test_an_error_of_the_engine_passes_through() -> None:
    async def broken(scope: Message, receive: Receive, send: Send) -> None:
        raise ValueError("broken")

    async def nothing(*_: Any) -> Any:
        return None

    with pytest.raises(ValueError, match="broken"):
        await RequestTimeout(broken)({"type": "http", "path": "/v1/completions", "headers": [(b"x-ff-timeout-s", b"5")]}, nothing, nothing)


class Reader:
    """A client that takes in the head and one part, and the next part only after a while."""

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s
        self.sent: list[Any] = []

    async def takes(self, message: Message) -> None:
        if len(self.sent) == 2:
            await asyncio.sleep(self.after_s)
        self.sent.append(message)

    async def asks(self, middleware: RequestTimeout) -> None:
        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        await middleware({"type": "http", "path": "/v1/completions", "headers": [(b"x-ff-timeout-s", b"10")]}, receive, self.takes)


PARTS = [(0.0, b"data: 1\n\n"), (0.0, b"data: 2\n\n"), (0.0, b"data: [DONE]\n\n")]


async def test_a_reader_that_has_stopped_is_let_go_and_the_work_for_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no room for an error either, so the connection is cut: nothing is said of the engine, which did not fail."""
    monkeypatch.setattr(middleware_module, "TELL_WAIT_S", 0.05)
    monkeypatch.setattr(middleware_module, "LEAVE_WAIT_S", 0.05)
    app, reader = App(STREAM, PARTS), Reader(NEVER)
    middleware = RequestTimeout(app, stream_pause_s=0.05)
    async with asyncio.timeout(1.5):
        await reader.asks(middleware)
    assert app.cancelled
    assert len(reader.sent) == 2
    assert (await statistics(middleware))["streams_failed"] == 0


async def test_nothing_follows_the_end_of_a_stream_that_timed_out_while_its_head_went_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware_module, "_limit", lambda _: 0.1)
    sent: list[Any] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            await asyncio.sleep(0.3)
        sent.append(message.get("more_body"))

    async def nothing() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    await RequestTimeout(App(STREAM, PARTS))({"type": "http", "path": "/v1/completions", "headers": []}, nothing, send)
    assert sent == [False, None]


async def test_the_pause_of_a_reader_is_none_of_the_engine() -> None:
    app, reader = App(STREAM, PARTS), Reader(0.3)
    middleware = RequestTimeout(app, stream_pause_s=5)
    await reader.asks(middleware)
    assert [message["body"] for message in reader.sent[1:]] == [part for _, part in PARTS]
    assert all(BOUNDS_MS[int(cell)] < 250 for cell in (await statistics(middleware))["gaps"])


async def test_what_is_not_http_is_not_looked_at() -> None:
    seen = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def nothing(*_: Any) -> Any:
        return None

    await RequestTimeout(app)({"type": "lifespan"}, nothing, nothing)
    assert seen == ["lifespan"]


async def statistics(middleware: RequestTimeout) -> Any:
    status, body, _ = await through(middleware, None, PATH)
    assert status == 200
    return json.loads(body)


async def test_pauses_of_streams_are_counted_and_nothing_of_their_text_is_told() -> None:
    middleware = RequestTimeout(App(STREAM, [(0, b"data: secret 1\n\n"), (0.05, b"data: 2\n\n"), (0, b""), (0.2, b"data: [DONE]\n\n")]))
    await through(middleware, b"10")
    await through(middleware, b"10")
    await through(middleware, None)
    told = await statistics(middleware)
    assert (told["begun"], told["ended"], told["parts"], told["streams_failed"]) == (2, 2, 6, 0)
    assert sum(told["gaps"].values()) == 4
    assert sum(count for cell, count in told["gaps"].items() if BOUNDS_MS[int(cell)] > 190) >= 2
    assert min(BOUNDS_MS[int(cell)] for cell in told["gaps"]) >= 49
    assert "secret" not in json.dumps(told)


async def test_requests_under_way_have_begun_and_not_ended() -> None:
    middleware = RequestTimeout(App(JSON, [(NEVER, b"{}")]))
    task = asyncio.create_task(through(middleware, b"60"))
    await asyncio.sleep(0)
    told = await statistics(middleware)
    assert (told["begun"], told["ended"]) == (1, 0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await statistics(middleware))["ended"] == 1


@pytest.mark.parametrize(
    ("parts", "failed"),
    [
        ([b'data: {"error": {"message": "m", "code": 500}}\n\n', b"data: [DONE]\n\n"], 1),
        ([b"data: 1\n\n", b'data: {"error":{"message":"m"}}\n\ndata: [DONE]\n\n'], 1),
        ([b'data: 1\n\ndata: {"error": 1}\n\n', b'data: {"error": 2}\n\n'], 1),
        ([b"event: error\ndata: {}\n\n"], 1),
        ([b"event: response.created\ndata: {}\n\nevent: response.failed\ndata: {}\n\n"], 1),
        ([b'data: {"text": "data: {\\"error\\": 1}"}\n\n'], 0),
        ([b'data: {"text": "\\nevent: error"}\n\n'], 0),
        ([b'data: {"choices": [{"text": "error"}]}\n\n', b"data: [DONE]\n\n"], 0),
    ],
)
async def test_a_stream_that_ends_in_an_error_has_failed_once_whatever_follows(parts: list[bytes], failed: int) -> None:
    middleware = RequestTimeout(App(STREAM, [(0, part) for part in parts]))
    await through(middleware, b"10")
    assert (await statistics(middleware))["streams_failed"] == failed


async def test_a_stream_that_we_end_ourselves_has_failed() -> None:
    middleware = RequestTimeout(App(STREAM, [(0, b"data: 1\n\n"), (NEVER, b"data: 2\n\n")]), stream_pause_s=0.05)
    await through(middleware, b"10")
    assert (await statistics(middleware))["streams_failed"] == 1


async def test_a_plain_answer_has_no_pauses_and_no_failed_stream() -> None:
    middleware = RequestTimeout(App(JSON, [(0, b'data: {"error"'), (0.01, b"}")]))
    await through(middleware, b"10")
    told = await statistics(middleware)
    assert (told["parts"], told["gaps"], told["streams_failed"]) == (0, {}, 0)


def test_what_an_engine_does_not_import_is_the_same_here_and_there() -> None:
    assert BOUNDS_MS == load.BOUNDS_MS
    assert (routing.TIMEOUT_HEADER.encode(), routing.BOUNCE_HEADER.encode()) == (HEADER, BOUNCE_HEADER)


async def test_work_that_runs_beside_the_call_is_ended_by_a_disconnect() -> None:
    """As vLLM does it: the call waits for a task and for the client to leave; cancelled, it would leave the task to itself."""
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(NEVER)
        finally:
            ended.append("work")

    async def gone(receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            await asyncio.sleep(0.01)

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        tasks = {asyncio.create_task(work()), asyncio.create_task(gone(receive))}
        _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.wait(tasks)

    status, _, _ = await through(RequestTimeout(app), b"1")
    assert (status, ended) == (504, ["work"])


class Dead(App):
    """A vLLM whose engine core has died: it answers errors about itself."""

    def __init__(self, content_type: bytes, parts: list[tuple[float, bytes]], status: int, errored: bool = True) -> None:
        super().__init__(content_type, parts)
        self.status = status
        self.state = SimpleNamespace(engine_client=SimpleNamespace(errored=errored))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        scope["app"] = self  # as Starlette does

        async def told(message: Message) -> None:
            await send({**message, "status": self.status} if message["type"] == "http.response.start" else message)

        await super().__call__(scope, receive, told)


ERROR = b'{"error": {"message": "EngineCore encountered an issue.", "code": 500}}'


@pytest.mark.parametrize(
    "app",
    [Dead(JSON, [(0, ERROR)], 500), Dead(STREAM, [(0, b""), (0, b"data: " + ERROR + b"\n\n"), (0, b"data: [DONE]\n\n")], 200)],
    ids=["plain", "stream"],
)
async def test_what_a_dead_engine_cannot_answer_is_sent_back_to_be_tried_elsewhere(app: Dead) -> None:
    sent = await messages(RequestTimeout(app), b"10")
    head, body = sent
    assert (head["status"], dict(head["headers"])[BOUNCE_HEADER]) == (503, b"1")
    assert json.loads(body["body"])["error"]["code"] == "no_ready_replica"
    assert not body["more_body"]


async def test_an_error_of_a_living_engine_is_the_answer() -> None:
    assert await answer(Dead(JSON, [(0, ERROR)], 500, errored=False), b"10") == (500, ERROR, True)


async def test_what_has_begun_when_the_engine_dies_goes_on_to_its_error() -> None:
    parts = [(0.0, b"data: 1\n\n"), (0.0, b"data: " + ERROR + b"\n\n")]
    assert await answer(Dead(STREAM, parts, 200), b"10") == (200, parts[0][1] + parts[1][1], True)


async def test_a_refusal_by_an_engine_that_has_died_meanwhile_is_the_answer() -> None:
    assert await answer(Dead(JSON, [(0, ERROR)], 400), b"10") == (400, ERROR, True)
