"""Requests that come while nothing runs: held, told of, and brought whole to the replica that they woke. Real Envoy, real activator."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from tests.gateway.engines import EchoEngine
from tests.gateway.holding import ask, client_of, in_flight, until_waiting, waiting
from tests.gateway.processes import end
from tests.gateway.stack import Gateway, a_route, a_track
from tests.harness.waiting import until

pytestmark = pytest.mark.envoy
EVENTS = [f'data: {{"number": {number}}}\n\n' for number in range(10)]
MIB = 1 << 20


def test_the_first_request_is_answered_by_the_replica_that_it_woke(
    gateway: Gateway, held_engine: EchoEngine, pool: ThreadPoolExecutor
) -> None:
    """One line in the log, of the version that answered; the replica sees it once, with its whole body."""
    gateway.publish(a_route("first", phase="ScaledToZero"))
    ask_raw = gateway.client().chat.completions.with_raw_response.create
    raw = pool.submit(lambda: ask_raw(model="first", messages=[{"role": "user", "content": "x"}]))
    gateway.until_report("it waits", lambda report: report.waiting == {"p1/first": 1})
    seen = len(held_engine.seen)
    gateway.publish(a_route("first", a_track("v1", 100, held_engine.path)))
    headers = raw.result().headers
    assert len(held_engine.seen) == seen + 1
    assert not {"x-ff-bounce", "x-ff-activator"} & set(headers)
    line = gateway.logged(headers["x-request-id"])
    assert (line["version"], line["replica"], line["status"], line["attempts"]) == ("v1", "held-engine", 200, 2)
    assert [each["request_id"] for each in gateway.log_lines()].count(headers["x-request-id"]) == 1
    gateway.until_report("nothing waits", lambda report: report.waiting == {})


def test_who_watches_is_told_at_once_that_something_waits(gateway: Gateway, pool: ThreadPoolExecutor) -> None:
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


def test_a_stream_that_was_held_arrives_event_by_event(gateway: Gateway, held_engine: EchoEngine, pool: ThreadPoolExecutor) -> None:
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
    gateway.publish(a_route("stream-first", a_track("v1", 100, held_engine.path)))
    assert heard.result() == "".join(EVENTS).encode()
    assert arrived[-1] - arrived[0] > 0.3


@pytest.mark.parametrize("size", [0, 64 << 10, MIB, 16 * MIB - 1000])
def test_a_body_of_any_size_comes_whole(gateway: Gateway, held_engine: EchoEngine, pool: ThreadPoolExecutor, size: int) -> None:
    gateway.publish(a_route("sized", phase="ScaledToZero"))
    asked = pool.submit(ask, gateway, "sized", padding="x" * size)
    until_waiting(gateway, "p1/sized", 1)
    gateway.publish(a_route("sized", a_track("v1", 100, held_engine.path)))
    assert asked.result() == "held-engine"
    assert held_engine.seen[-1][2].count(b"x") >= size


def test_three_hundred_at_once_lose_nothing(gateway: Gateway, held_engine: EchoEngine, pool: ThreadPoolExecutor) -> None:
    gateway.publish(a_route("crowd", phase="ScaledToZero"))
    asked = [pool.submit(ask, gateway, "crowd") for _ in range(300)]
    until_waiting(gateway, "p1/crowd", 300)
    gateway.publish(a_route("crowd", a_track("v1", 100, held_engine.path)))
    assert Counter(each.result() for each in asked) == {"held-engine": 300}


def test_three_cycles_from_zero_to_zero_under_load_lose_nothing(gateway: Gateway) -> None:
    """Routed, draining, acknowledged, in-flight 0, gone, and again. A request that comes between is held, and wakes it anew."""
    stop_asking = False
    answers: Counter[str] = Counter()

    def keep_asking(number: int) -> None:
        while not stop_asking:
            answers[told(lambda: stream_or_plain(gateway, "cycles", streams=number % 2 == 1))] += 1

    def one_cycle(name: str) -> None:
        until("something waits", lambda: waiting(gateway, "p1/cycles"), every_s=0.01)
        stub = gateway.stub(name, "cycles")
        gateway.publish(a_route("cycles", a_track("v1", 100, stub.path)))
        before = answers.total()
        until("it serves", lambda: answers.total() > before + 50, every_s=0.01)
        gateway.publish(a_route("cycles", a_track("v1", 100, stub.path, draining=True), phase="Draining"))
        until("in-flight 0", lambda: in_flight(gateway, "cycles", name) == 0, every_s=0.01)
        end(stub.process)
        gateway.publish(a_route("cycles", phase="ScaledToZero"))

    gateway.publish(a_route("cycles", phase="ScaledToZero"))
    with ThreadPoolExecutor(8) as clients:
        asking = [clients.submit(keep_asking, number) for number in range(8)]
        try:
            for number in range(3):
                one_cycle(f"c{number}")
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
