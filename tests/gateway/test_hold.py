"""Requests that come before there is a replica: held, brought to it by Envoy itself, or told why not. Real Envoy, real activator."""

import asyncio
import concurrent.futures
import contextlib
import functools
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from msgspec.structs import replace

from tests.gateway.engines import EchoEngine
from tests.gateway.processes import end
from tests.gateway.stack import Gateway, a_route, a_track
from tests.harness.waiting import until

pytestmark = pytest.mark.envoy
EVENTS = [f'data: {{"number": {number}}}\n\n' for number in range(10)]
MIB = 1 << 20


@pytest.fixture(scope="module")
def engine(gateway: Gateway) -> Iterator[EchoEngine]:
    found = gateway.echo("held-engine")
    yield found
    gateway.run(found.stop())


@pytest.fixture
def pool() -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    with concurrent.futures.ThreadPoolExecutor(320) as made:
        yield made


@functools.lru_cache(maxsize=4)
def client_of(gateway: Gateway, key: str | None) -> openai.OpenAI:
    return gateway.client(key)


def ask(gateway: Gateway, model: str, key: str | None = None, **body: Any) -> str:
    """The engine's name, or the code of the error."""
    try:
        answer = client_of(gateway, key).chat.completions.create(model=model, messages=[], extra_body=body)
    except openai.APIStatusError as error:
        return str(error.code)
    return str(answer.choices[0].message.content)


def refusal(gateway: Gateway, model: str) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        gateway.client().chat.completions.create(model=model, messages=[])
    return caught.value


def until_waiting(gateway: Gateway, key: str, count: int) -> None:
    until(f"{count} wait for {key}", lambda: gateway.feed.waiting.counts().get(key, 0) == count, every_s=0.01)


def test_the_first_request_is_answered_by_the_replica_that_it_woke(
    gateway: Gateway, engine: EchoEngine, pool: concurrent.futures.ThreadPoolExecutor
) -> None:
    """One line in the log, of the version that answered; the replica sees it once, with its whole body."""
    gateway.publish(a_route("first", phase="ScaledToZero"))
    raw = pool.submit(
        gateway.client().chat.completions.with_raw_response.create, model="first", messages=[{"role": "user", "content": "x"}]
    )
    gateway.until_report("it waits", lambda report: report.waiting == {"p1/first": 1})
    seen = len(engine.seen)
    gateway.publish(a_route("first", a_track("v1", 100, engine.path)))
    headers = raw.result().headers
    assert len(engine.seen) == seen + 1
    assert not {"x-ff-bounce", "x-ff-activator"} & set(headers)
    line = gateway.logged(headers["x-request-id"])
    assert (line["version"], line["replica"], line["status"], line["attempts"]) == ("v1", "held-engine", 200, 2)
    assert [each["request_id"] for each in gateway.log_lines()].count(headers["x-request-id"]) == 1
    gateway.until_report("nothing waits", lambda report: report.waiting == {})


def test_who_watches_is_told_at_once_that_something_waits(gateway: Gateway, pool: concurrent.futures.ThreadPoolExecutor) -> None:
    """By push: the best of ten is far below what any polling would give."""
    took: list[float] = []
    for number in range(10):
        gateway.publish(a_route(f"wake{number}", phase="ScaledToZero", request_timeout_s=1))
        begun = time.monotonic()
        asked = pool.submit(ask, gateway, f"wake{number}")
        gateway.until_report("it waits", lambda report, number=number: f"p1/wake{number}" in report.waiting)
        took.append(time.monotonic() - begun)
        gateway.publish(remove=(f"p1/wake{number}",))
        assert asked.result() == "model_not_found"
    assert min(took) < 0.05, took


def test_a_stream_that_was_held_arrives_event_by_event(
    gateway: Gateway, engine: EchoEngine, pool: concurrent.futures.ThreadPoolExecutor
) -> None:
    gateway.publish(a_route("stream-first", phase="ScaledToZero"))
    arrived: list[float] = []

    def listen() -> bytes:
        text = b""
        body = {"stream": True, "events": EVENTS, "event_delay_s": 0.05}
        with gateway.client().chat.completions.with_streaming_response.create(model="stream-first", messages=[], extra_body=body) as answer:
            for piece in answer.iter_bytes():
                arrived.append(time.monotonic())
                text += piece
        return text

    heard = pool.submit(listen)
    until_waiting(gateway, "p1/stream-first", 1)
    gateway.publish(a_route("stream-first", a_track("v1", 100, engine.path)))
    assert heard.result() == "".join(EVENTS).encode()
    assert arrived[-1] - arrived[0] > 0.3


@pytest.mark.parametrize("size", [0, 64 << 10, MIB, 16 * MIB - 1000])
def test_a_body_of_any_size_comes_whole(
    gateway: Gateway, engine: EchoEngine, pool: concurrent.futures.ThreadPoolExecutor, size: int
) -> None:
    gateway.publish(a_route("sized", phase="ScaledToZero"))
    asked = pool.submit(ask, gateway, "sized", padding="x" * size)
    until_waiting(gateway, "p1/sized", 1)
    gateway.publish(a_route("sized", a_track("v1", 100, engine.path)))
    assert asked.result() == "held-engine"
    assert engine.seen[-1][2].count(b"x") >= size


def test_three_hundred_at_once_lose_nothing(gateway: Gateway, engine: EchoEngine, pool: concurrent.futures.ThreadPoolExecutor) -> None:
    gateway.publish(a_route("crowd", phase="ScaledToZero"))
    asked = [pool.submit(ask, gateway, "crowd") for _ in range(300)]
    until_waiting(gateway, "p1/crowd", 300)
    gateway.publish(a_route("crowd", a_track("v1", 100, engine.path)))
    assert Counter(each.result() for each in asked) == {"held-engine": 300}


def test_row_43_a_client_that_leaves_frees_its_place(gateway: Gateway) -> None:
    """Its time limit, a closed socket, a reset: nobody waits any more."""
    gateway.publish(a_route("left", phase="ScaledToZero"))
    with pytest.raises(openai.APITimeoutError):
        gateway.client(timeout=0.3).chat.completions.create(model="left", messages=[])
    until_waiting(gateway, "p1/left", 0)
    body = b'{"model": "left"}'
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\ncontent-length: %d\r\n\r\n"
    for reset in (False, True):
        with socket.create_connection(("127.0.0.1", gateway.settings.gateway_port)) as connection:
            connection.sendall(head % (gateway.mint().encode(), len(body)) + body)
            until_waiting(gateway, "p1/left", 1)
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        until_waiting(gateway, "p1/left", 0)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_an_activator_held_when_it_ended_is_held_by_the_next(
    own_gateway: Gateway, pool: concurrent.futures.ThreadPoolExecutor, how: signal.Signals
) -> None:
    """Envoy has the requests, and tries until the next one listens. A second later is not too late."""
    engine = own_gateway.echo("after")
    own_gateway.publish(a_route("orphans", phase="ScaledToZero"))
    asked = [pool.submit(ask, own_gateway, "orphans", padding="x" * 1000) for _ in range(100)]
    until_waiting(own_gateway, "p1/orphans", 100)
    end(own_gateway.activator, how)
    until_waiting(own_gateway, "p1/orphans", 0)
    own_gateway.settings.activator_socket.unlink(missing_ok=True)
    own_gateway.start_activator()
    until_waiting(own_gateway, "p1/orphans", 100)
    own_gateway.publish(a_route("orphans", a_track("v1", 100, engine.path)))
    assert Counter(each.result() for each in asked) == {"after": 100}
    own_gateway.run(engine.stop())


def test_the_deadline_is_the_endpoints_and_says_what_is_known(gateway: Gateway) -> None:
    began = int(time.time()) - 10
    gateway.feed_heard()
    gateway.publish(a_route("late", phase="Starting", request_timeout_s=1, start_s=5, start_slow_s=40, start_began=began))
    begun = time.monotonic()
    error = refusal(gateway, "late")
    assert 0.7 < time.monotonic() - begun < 2
    assert (error.status_code, error.code) == (503, "model_loading")
    assert 25 <= int(error.response.headers["retry-after"]) <= 30
    assert "x-ff-bounce" not in error.response.headers
    for word in ("Starting", "held for 1 s", "more"):
        assert word in str(error.body)
    assert "control plane" not in str(error.body)


def test_nobody_to_start_anything_is_said_at_the_deadline(own_gateway: Gateway) -> None:
    own_gateway.publish(a_route("alone", phase="ScaledToZero", request_timeout_s=1))
    assert "control plane does not answer" in str(refusal(own_gateway, "alone").body)
    own_gateway.feed_heard()
    assert "does not answer" not in str(refusal(own_gateway, "alone").body)
    own_gateway.stop_feed()
    assert "host process does not answer" in str(refusal(own_gateway, "alone").body)
    own_gateway.start_feed()


@pytest.mark.parametrize("becomes", [{"phase": "Stalled", "reason": "Crashed"}, {"phase": "Deleting"}], ids=["stalled", "deleting"])
def test_an_endpoint_that_will_not_come_ends_the_wait_at_once(
    gateway: Gateway, pool: concurrent.futures.ThreadPoolExecutor, becomes: dict[str, Any]
) -> None:
    gateway.publish(a_route("hopeless", phase="Starting"))
    waits = pool.submit(refusal, gateway, "hopeless")
    until_waiting(gateway, "p1/hopeless", 1)
    gateway.publish(a_route("hopeless", **becomes))
    for error in (waits.result(timeout=2), refusal(gateway, "hopeless")):
        assert (error.status_code, error.code, error.response.headers["x-should-retry"]) == (503, "no_ready_replica", "false")
        assert becomes.get("reason", "") in str(error.body)


def test_an_endpoint_that_is_removed_ends_the_wait_at_once(gateway: Gateway, pool: concurrent.futures.ThreadPoolExecutor) -> None:
    gateway.publish(a_route("gone", phase="Starting"))
    waits = pool.submit(refusal, gateway, "gone")
    until_waiting(gateway, "p1/gone", 1)
    gateway.publish(remove=("p1/gone",))
    assert waits.result(timeout=2).code == "model_not_found"


def test_when_every_replica_has_died_a_replacement_gets_what_came_meanwhile(
    gateway: Gateway, engine: EchoEngine, pool: concurrent.futures.ThreadPoolExecutor
) -> None:
    stub = gateway.stub("h1", "bereft")
    gateway.publish(a_route("bereft", a_track("v1", 100, stub.path)))
    assert ask(gateway, "bereft") == "h1 word1 word2"
    end(stub.process, signal.SIGKILL)
    asked = [pool.submit(ask, gateway, "bereft") for _ in range(50)]
    until_waiting(gateway, "p1/bereft", 50)
    gateway.publish(a_route("bereft", a_track("v1", 100, engine.path)))
    assert Counter(each.result(timeout=10) for each in asked) == {"held-engine": 50}


def test_a_replica_that_comes_back_where_it_was_gets_what_came_meanwhile(
    gateway: Gateway, pool: concurrent.futures.ThreadPoolExecutor
) -> None:
    """No new snapshot says so: that it listens again does."""
    stub = gateway.stub("h2", "back-again")
    gateway.publish(a_route("back-again", a_track("v1", 100, stub.path)))
    end(stub.process, signal.SIGKILL)
    asked = [pool.submit(ask, gateway, "back-again") for _ in range(20)]
    until_waiting(gateway, "p1/back-again", 20)
    gateway.stub("h2", "back-again")
    assert Counter(each.result(timeout=30) for each in asked) == {"h2 word1 word2": 20}


def test_a_replica_that_hangs_is_waited_for_until_it_is_back(
    gateway: Gateway, engine: EchoEngine, pool: concurrent.futures.ThreadPoolExecutor
) -> None:
    gateway.publish(a_route("stuck", a_track("v1", 100, engine.path)))
    take_out(gateway, "held-engine")
    asked: list[concurrent.futures.Future[str]] = []

    def one_is_held() -> int:
        asked.append(pool.submit(ask, gateway, "stuck"))
        return waiting(gateway, "p1/stuck")

    until("the proxy has taken it", one_is_held)
    with pytest.raises(TimeoutError):
        asked[-1].result(timeout=0.5)
    take_out(gateway)
    until_waiting(gateway, "p1/stuck", 0)
    assert ask(gateway, "stuck") == "held-engine"


def test_a_request_that_breaks_every_replica_is_tried_four_times(gateway: Gateway) -> None:
    taken: list[bytes] = []

    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            taken.append(await reader.readuntil(b"}"))
        writer.close()

    paths = [gateway.root / f"breaks{number}.sock" for number in range(6)]
    servers = [gateway.run(asyncio.start_unix_server(breaks, path)) for path in paths]
    gateway.publish(a_route("poison", a_track("v1", 100, *paths)))
    assert ask(gateway, "poison") == "no_ready_replica"
    assert 2 <= len(taken) <= 4
    for server in servers:
        server.close()


def test_replicas_that_refuse_are_not_tried_for_ever(gateway: Gateway, engine: EchoEngine) -> None:
    """Ejected for their 503s, they still listen. It ends by the deadline, with pauses between the tries."""
    gateway.publish(a_route("refuses", a_track("v1", 100, engine.path), request_timeout_s=3))
    for _ in range(3):
        ask(gateway, "refuses", answer_status=503)
    begun = time.monotonic()
    assert ask(gateway, "refuses") in ("no_ready_replica", "held-engine")
    assert time.monotonic() - begun < 10


def test_the_line_is_bounded_and_one_project_leaves_room_for_others(pool: concurrent.futures.ThreadPoolExecutor) -> None:
    """Eight places: one project gets four of them, another two of the rest. What is too much is told when to come again."""
    gateway = Gateway(FLEETFORM_HOLD_REQUESTS="8")
    gateway.start()
    try:
        engine = gateway.echo("few")
        routes = [a_route("busy", phase="Starting", start_s=30, project=project) for project in ("p1", "p2")]
        gateway.publish(*routes)
        others = gateway.mint(project="p2")
        mine = [pool.submit(ask, gateway, "busy") for _ in range(20)]
        until("the rest is refused", lambda: sum(each.done() for each in mine) == 16)
        theirs = [pool.submit(ask, gateway, "busy", others) for _ in range(5)]
        until("the rest of theirs too", lambda: sum(each.done() for each in theirs) == 3)
        error = refusal(gateway, "busy")
        assert (error.status_code, error.code, type(error)) == (429, "queue_full", openai.RateLimitError)
        assert 25 <= int(error.response.headers["retry-after"]) <= 30
        gateway.publish(*(replace(route, tracks=(a_track("v1", 100, engine.path),), phase="Ready") for route in routes))
        assert Counter(each.result() for each in mine) == {"queue_full": 16, "few": 4}
        assert Counter(each.result() for each in theirs) == {"queue_full": 3, "few": 2}
        gateway.run(engine.stop())
    finally:
        gateway.stop()


def test_the_bytes_that_wait_are_bounded_too(pool: concurrent.futures.ThreadPoolExecutor) -> None:
    """Of eight MiB one project gets half, and a small request of another finds room."""
    gateway = Gateway(FLEETFORM_HOLD_MIB="8")
    gateway.start()
    try:
        gateway.publish(*(a_route("heavy", phase="Starting", project=project) for project in ("p1", "p2")))
        large = [pool.submit(ask, gateway, "heavy", padding="x" * MIB) for _ in range(10)]
        until("the rest is refused", lambda: sum(each.done() for each in large) == 6)
        small = pool.submit(ask, gateway, "heavy", gateway.mint(project="p2"))
        until_waiting(gateway, "p2/heavy", 1)
        gateway.publish(remove=("p1/heavy", "p2/heavy"))
        assert small.result() == "model_not_found"
        assert Counter(each.result() for each in large) == {"queue_full": 6, "model_not_found": 4}
    finally:
        gateway.stop()


def test_what_waits_survives_the_worker(own_gateway: Gateway, pool: concurrent.futures.ThreadPoolExecutor) -> None:
    """The next worker is told at once what waits, and what it publishes ends the wait."""
    engine = own_gateway.echo("later")
    own_gateway.publish(a_route("patient", phase="ScaledToZero"))
    asked = pool.submit(ask, own_gateway, "patient")
    until_waiting(own_gateway, "p1/patient", 1)
    own_gateway.stop_feed()
    own_gateway.start_feed()
    until_waiting(own_gateway, "p1/patient", 1)
    own_gateway.publish(a_route("patient", a_track("v1", 100, engine.path)))
    assert asked.result() == "later"
    own_gateway.run(engine.stop())


def test_three_cycles_from_zero_to_zero_under_load_lose_nothing(gateway: Gateway) -> None:
    """Routed, draining, acknowledged, in-flight 0, gone, and again. A request that comes between is held, and wakes it anew."""
    stop_asking = False
    answers: Counter[str] = Counter()

    def keep_asking(number: int) -> None:
        while not stop_asking:
            answers[told(lambda: stream_or_plain(gateway, "cycles", streams=number % 2 == 1))] += 1

    gateway.publish(a_route("cycles", phase="ScaledToZero"))
    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        asking = [clients.submit(keep_asking, number) for number in range(8)]
        try:
            for cycle in range(3):
                until("something waits", lambda: waiting(gateway, "p1/cycles"), every_s=0.01)
                stub = gateway.stub(f"c{cycle}", "cycles")
                gateway.publish(a_route("cycles", a_track("v1", 100, stub.path)))
                before = answers.total()
                until("it serves", lambda before=before: answers.total() > before + 50, every_s=0.01)
                gateway.publish(a_route("cycles", a_track("v1", 100, stub.path, draining=True), phase="Draining"))
                until("in-flight 0", lambda stub=stub: in_flight(gateway, "cycles", stub.path.stem) == 0, every_s=0.01)
                end(stub.process)
                gateway.publish(a_route("cycles", phase="ScaledToZero"))
            stub = gateway.stub("c9", "cycles")
            gateway.publish(a_route("cycles", a_track("v1", 100, stub.path)))
        finally:
            stop_asking = True
        for each in asking:
            each.result()
    assert set(answers) == {"whole"}, answers
    assert answers.total() > 150


def stream_or_plain(gateway: Gateway, model: str, *, streams: bool) -> str:
    client = client_of(gateway, None)
    body = {"stub_token_delay_s": 0.01}
    if not streams:
        answer = client.chat.completions.create(model=model, messages=[], extra_body=body)
        return "whole" if answer.choices[0].finish_reason else "cut"
    finish = None
    for chunk in client.chat.completions.create(model=model, messages=[], stream=True, extra_body=body):
        finish = chunk.choices[0].finish_reason or finish
    return "whole" if finish else "cut"


def told(work: Callable[[], str]) -> str:
    try:
        return work()
    except openai.OpenAIError as error:
        return f"{type(error).__name__}: {error}"


def waiting(gateway: Gateway, key: str) -> int:
    return gateway.feed.waiting.counts().get(key, 0)


def in_flight(gateway: Gateway, model: str, replica_id: str) -> int:
    return gateway.run(gateway.feed.in_flight(f"p1/{model}", [replica_id]))[replica_id]


def take_out(gateway: Gateway, *replica_ids: str) -> None:
    async def tell() -> None:
        gateway.feed.take_out(frozenset(replica_ids))

    gateway.run(tell())
