"""Where requests go: splits, weights, draining, dead replicas, and streams while all of that changes."""

import asyncio
import concurrent.futures
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from msgspec.structs import replace

from fleetform.domain.replica import Loopback
from fleetform.gateway import resources
from tests.gateway.engines import STUB, EchoEngine, StubProcess
from tests.gateway.processes import child, end
from tests.gateway.stack import Gateway, a_route, a_track
from tests.harness.ports import free_ports
from tests.harness.waiting import until

pytestmark = pytest.mark.envoy
EVENTS = [f'data: {{"number": {number}}}\n\n' for number in range(20)]


@pytest.fixture(scope="module")
def engines(gateway: Gateway) -> Iterator[tuple[EchoEngine, EchoEngine]]:
    """Two engines called one and two."""
    pair = (gateway.echo("one"), gateway.echo("two"))
    yield pair
    for engine in pair:
        gateway.run(engine.stop())


def ask(gateway: Gateway, model: str, times: int) -> Counter[str]:
    """Answers, or error codes, by count; ten requests at a time."""
    client = gateway.client()

    def one(_: int) -> str:
        try:
            answer = client.chat.completions.create(model=model, messages=[], max_tokens=1)
        except openai.APIStatusError as error:
            return str(error.code)
        return str(answer.choices[0].message.content)

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        return Counter(pool.map(one, range(times)))


def stream(gateway: Gateway, model: str, delay_s: float, first: Callable[[], object] = lambda: None) -> bytes:
    """The body of one streamed answer; first is called when its beginning has come."""
    body: dict[str, Any] = {"model": model, "messages": [], "stream": True, "events": EVENTS, "event_delay_s": delay_s}
    text = b""
    with gateway.client().chat.completions.with_streaming_response.create(model=model, messages=[], extra_body=body) as answer:
        for piece in answer.iter_bytes():
            if not text:
                first()
            text += piece
    return text


def test_a_split_is_exact(gateway: Gateway, engines: tuple[EchoEngine, EchoEngine]) -> None:
    one, two = engines
    gateway.publish(a_route("split", a_track("v1", 90, one.path), a_track("v2", 10, two.path)))
    counts = ask(gateway, "split", 2000)
    assert set(counts) == {"one", "two"}
    assert 150 <= counts["two"] <= 250


def test_weight_0_gets_nothing_from_the_acknowledgement_on(gateway: Gateway, engines: tuple[EchoEngine, EchoEngine]) -> None:
    one, two = engines
    gateway.publish(a_route("flip", a_track("v1", 100, one.path), a_track("v2", 0, two.path)))
    assert ask(gateway, "flip", 200) == {"one": 200}
    gateway.publish(a_route("flip", a_track("v1", 0, one.path), a_track("v2", 100, two.path)))
    assert ask(gateway, "flip", 200) == {"two": 200}


def test_a_loopback_port(gateway: Gateway) -> None:
    """Engines that cannot listen on a socket."""
    (port,) = free_ports(1)
    process = child([*STUB, "--port", str(port), "--served-name", "by-port", "--instance", "port"], gateway.log)
    try:
        until("the stub listens", lambda: listens(port))
        gateway.publish(a_route("by-port", a_track("v1", 100, Loopback(port=port))))
        assert ask(gateway, "by-port", 20) == {"port": 20}
    finally:
        end(process)


def test_draining_gets_nothing_new_and_finishes_what_it_has(gateway: Gateway, engines: tuple[EchoEngine, EchoEngine]) -> None:
    one, two = engines
    gateway.publish(a_route("drain", a_track("v1", 100, one.path)))
    counts: list[dict[str, int]] = []

    def drain() -> None:
        gateway.publish(a_route("drain", a_track("v1", 0, one.path, draining=True), a_track("v2", 100, two.path)))
        counts.append(gateway.run(gateway.feed.in_flight("p1/drain", ["one", "two"])))
        assert ask(gateway, "drain", 100) == {"two": 100}

    assert stream(gateway, "drain", 0.05, first=drain) == "".join(EVENTS).encode()
    assert counts == [{"one": 1, "two": 0}]
    until("in-flight 0", lambda: gateway.run(gateway.feed.in_flight("p1/drain", ["one"])) == {"one": 0})


def test_one_of_two_draining_in_one_track(gateway: Gateway, engines: tuple[EchoEngine, EchoEngine]) -> None:
    one, two = engines
    track = a_track("v1", 100, one.path, two.path)
    first, second = track.targets
    gateway.publish(a_route("half", replace(track, targets=(replace(first, draining=True), second))))
    assert ask(gateway, "half", 100) == {"two": 100}


def test_everything_draining_is_the_activators(gateway: Gateway, engines: tuple[EchoEngine, EchoEngine]) -> None:
    gateway.publish(a_route("leaving", a_track("v1", 100, engines[0].path, draining=True), request_timeout_s=1))
    assert ask(gateway, "leaving", 10) == {"model_loading": 10}


def test_streams_survive_every_change_of_their_route(gateway: Gateway, engines: tuple[EchoEngine, EchoEngine]) -> None:
    """Weights, removal of the replica, a changed time limit (a new cluster), removal of the endpoint."""
    one, two = engines
    gateway.publish(a_route("stream", a_track("v1", 100, one.path)))

    def change() -> None:
        gateway.publish(a_route("stream", a_track("v1", 0, one.path), a_track("v2", 100, two.path)))
        gateway.publish(a_route("stream", a_track("v2", 100, two.path)))
        gateway.publish(a_route("stream", a_track("v2", 100, two.path), request_timeout_s=77))
        gateway.publish(remove=("p1/stream",))
        assert ask(gateway, "stream", 5) == {"model_not_found": 5}

    assert stream(gateway, "stream", 0.1, first=change) == "".join(EVENTS).encode()


def test_streams_arrive_event_by_event(gateway: Gateway, engines: tuple[EchoEngine, EchoEngine]) -> None:
    gateway.publish(a_route("pace", a_track("v1", 100, engines[0].path)))
    begun = time.monotonic()
    first_at: list[float] = []
    stream(gateway, "pace", 0.05, first=lambda: first_at.append(time.monotonic() - begun))
    assert first_at[0] < 0.5
    assert time.monotonic() - begun > 0.9


def test_a_changed_time_limit_reaches_the_replica(gateway: Gateway, engines: tuple[EchoEngine, EchoEngine]) -> None:
    one, _ = engines
    for limit_s in (30, 31, 3600):
        gateway.publish(a_route("limit", a_track("v1", 100, one.path), request_timeout_s=limit_s))
        assert ask(gateway, "limit", 20) == {"one": 20}
        assert {dict(headers)["x-ff-timeout-s"] for _, headers, _ in one.seen[-20:]} == {str(limit_s)}


def test_the_clusters_limit_for_engines_without_our_middleware(gateway: Gateway, engines: tuple[EchoEngine, EchoEngine]) -> None:
    gateway.publish(a_route("command", a_track("v1", 100, engines[0].path), request_timeout_s=1, command_engine=True))
    body = {"events": EVENTS, "event_delay_s": 0.3}
    with pytest.raises(openai.APIConnectionError):
        gateway.client().chat.completions.create(model="command", messages=[], extra_body=body)


def test_the_clusters_limit_before_an_answer_has_begun(gateway: Gateway) -> None:
    """Envoy tries another replica first; when none answers in time either, the activator says so."""
    stubs = [gateway.stub(name, "slow") for name in ("s1", "s2")]
    gateway.publish(a_route("slow", a_track("v1", 100, *(stub.path for stub in stubs)), request_timeout_s=1, command_engine=True))
    with pytest.raises(openai.InternalServerError) as caught:
        gateway.client().chat.completions.create(model="slow", messages=[], extra_body={"stub_delay_s": 30})
    assert (caught.value.status_code, caught.value.code) == (504, "request_timeout")


def test_an_answer_that_is_no_http(gateway: Gateway) -> None:
    """Tried elsewhere like any other fault of a replica; in the end the activator speaks."""

    async def garble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HELLO WORLD\r\n\r\n")
        await writer.drain()
        writer.close()

    path = gateway.root / "garbled.sock"
    server = gateway.run(asyncio.start_unix_server(garble, path))
    gateway.publish(a_route("garbled", a_track("v1", 100, path)))
    with pytest.raises(openai.InternalServerError) as caught:
        gateway.client().chat.completions.create(model="garbled", messages=[])
    assert (caught.value.status_code, caught.value.code) == (503, "no_ready_replica")
    server.close()


def test_a_track_whose_replicas_all_die_hands_its_share_over(gateway: Gateway) -> None:
    stubs = [gateway.stub(name, "mortal") for name in ("m1", "m2", "m3")]
    first, second, third = stubs
    tracks = (a_track("v1", 50, first.path, second.path), a_track("v2", 50, third.path))
    gateway.publish(a_route("mortal", *tracks, request_timeout_s=2))
    assert set(ask(gateway, "mortal", 300)) == {"m1", "m2", "m3"}
    kill(third)
    assert ask(gateway, "mortal", 300).keys() == {"m1", "m2"}
    kill(second)
    assert ask(gateway, "mortal", 300) == {"m1": 300}
    kill(first)
    assert ask(gateway, "mortal", 20) == {"no_ready_replica": 20}


def test_a_warm_track_at_weight_0_does_not_step_in_unasked(gateway: Gateway, engines: tuple[EchoEngine, EchoEngine]) -> None:
    """The split is the user's word: a version at 0 gets nothing, also when the other has died."""
    stub = gateway.stub("w1", "warm")
    gateway.publish(a_route("warm", a_track("v1", 100, stub.path), a_track("v0", 0, engines[0].path), request_timeout_s=2))
    assert ask(gateway, "warm", 20) == {"w1": 20}
    kill(stub)
    assert ask(gateway, "warm", 20) == {"no_ready_replica": 20}


def test_a_replica_killed_under_load_loses_nothing(gateway: Gateway) -> None:
    """Plain requests that it had already taken are answered by the other."""
    stubs = [gateway.stub(name, "load") for name in ("l1", "l2")]
    gateway.publish(a_route("load", a_track("v1", 100, *(stub.path for stub in stubs))))
    client = gateway.client()

    def one(number: int) -> str:
        body = {"stub_delay_s": 0.05}
        answer = client.chat.completions.create(model="load", messages=[], max_tokens=1, extra_body=body)
        if number == 100:
            kill(stubs[0])
        return str(answer.choices[0].message.content)

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        counts = Counter(pool.map(one, range(600)))
    assert sum(counts.values()) == 600
    assert counts["l2"] > 300


def test_replicas_that_come_back_get_traffic_again(gateway: Gateway, engines: tuple[EchoEngine, EchoEngine]) -> None:
    stub = gateway.stub("b1", "back")
    gateway.publish(a_route("back", a_track("v1", 100, stub.path), request_timeout_s=1))
    kill(stub)
    assert ask(gateway, "back", 20) == {"no_ready_replica": 20}
    gateway.publish(a_route("back", a_track("v1", 100, engines[0].path), request_timeout_s=1))
    assert ask(gateway, "back", 20) == {"one": 20}


def test_queue_full(gateway: Gateway, engines: tuple[EchoEngine, EchoEngine]) -> None:
    """The limit is far away in practice; here one request fills it."""
    limit = resources._CIRCUIT_BREAKERS.thresholds[0].max_requests
    usual, limit.value = limit.value, 1
    try:
        gateway.publish(a_route("narrow", a_track("v1", 100, engines[0].path)))
    finally:
        limit.value = usual
    seen: list[openai.APIStatusError] = []

    def second() -> None:
        with pytest.raises(openai.RateLimitError) as caught:
            gateway.client().chat.completions.create(model="narrow", messages=[])
        seen.append(caught.value)

    stream(gateway, "narrow", 0.1, first=second)
    assert seen[0].code == "queue_full"
    assert seen[0].response.headers["retry-after"]


def listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def kill(stub: StubProcess) -> None:
    end(stub.process, signal.SIGKILL)


def test_a_replica_that_is_taken_out_gets_nothing_new_until_it_is_put_back(
    gateway: Gateway, engines: tuple[EchoEngine, EchoEngine]
) -> None:
    """The host's own word, without a new snapshot; it outlives the next one."""
    one, two = engines
    route = a_route("hangs", a_track("v1", 100, one.path, two.path), request_timeout_s=2)
    gateway.publish(route)
    try:
        take_out(gateway, "one")
        until("the proxy has taken it", lambda: ask(gateway, "hangs", 10) == {"two": 10})
        gateway.publish(replace(route, generation=2))
        assert ask(gateway, "hangs", 50) == {"two": 50}
        take_out(gateway, "one", "two")
        until("nobody is left", lambda: ask(gateway, "hangs", 5) == {"no_ready_replica": 5})
    finally:
        take_out(gateway)
    until("both are back", lambda: set(ask(gateway, "hangs", 20)) == {"one", "two"})


def test_a_stopped_replica_taken_out_and_killed_loses_no_plain_request(gateway: Gateway) -> None:
    """What it had taken is answered by the other as soon as it is killed: nothing of its answer had been sent."""
    stubs = [gateway.stub(name, "stopped") for name in ("h1", "h2")]
    gateway.publish(a_route("stopped", a_track("v1", 100, *(stub.path for stub in stubs))))
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            stubs[0].process.send_signal(signal.SIGSTOP)
            answers = pool.submit(ask, gateway, "stopped", 40)
            until("requests hang", lambda: gateway.run(gateway.feed.in_flight("p1/stopped", ["h1"]))["h1"] > 0)
            take_out(gateway, "h1")
            until("the proxy has taken it", lambda: ask(gateway, "stopped", 10) == {"h2": 10})
            kill(stubs[0])
            assert answers.result(timeout=30) == {"h2": 40}
    finally:
        take_out(gateway)


def take_out(gateway: Gateway, *names: str) -> None:
    async def work() -> None:
        gateway.feed.take_out(frozenset(names))

    gateway.run(work())
