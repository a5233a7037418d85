"""The load of a gateway as it is seen at a real Envoy: who has how much under way, and how old that is."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleetform.domain.load import EndpointLoad, GatewayLoad, ReplicaLoad
from fleetform.gateway import sampler
from fleetform.gateway.sampler import Sampler
from tests.gateway.engines import EchoEngine
from tests.gateway.processes import end
from tests.gateway.stack import Gateway, a_route, a_track
from tests.gateway.test_traffic import EVENTS, ask, stream
from tests.harness.waiting import until

pytestmark = pytest.mark.envoy


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A sampler of that gateway which looks when it is told to, a second later each time."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway, self.clock = gateway, Clock()
        self.sampler = Sampler(gateway.settings, lambda: gateway.feed.routes, self.clock)

    def look(self, times: int = 1) -> GatewayLoad:
        for _ in range(times):
            self.clock.now += 1.0
            self.gateway.run(self.sampler.look())
        load = self.sampler.load()
        assert load is not None
        return load

    def endpoint(self, key: str) -> EndpointLoad | None:
        load = self.sampler.load()
        assert load is not None
        return next((found for found in load.endpoints if found.key == key), None)

    def replica(self, replica_id: str) -> ReplicaLoad | None:
        load = self.sampler.load()
        assert load is not None
        return next((found for found in load.replicas if found.replica_id == replica_id), None)


@pytest.fixture(scope="module")
def engine(gateway: Gateway) -> Iterator[EchoEngine]:
    engine = gateway.echo("sampled")
    yield engine
    gateway.run(engine.stop())


@contextmanager
def a_stream(gateway: Gateway, model: str) -> Iterator[None]:
    """A request to model is under way inside."""
    begun, go_on = threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        go_on.wait(30)

    thread = threading.Thread(target=stream, args=(gateway, model, 0.01, first))
    thread.start()
    try:
        assert begun.wait(20)
        yield
    finally:
        go_on.set()
        thread.join(30)


def test_requests_under_way_are_averaged_and_counted_by_replica(gateway: Gateway, engine: EchoEngine) -> None:
    gateway.publish(a_route("sampled", a_track("v1", 100, engine.path)))
    watched = Watched(gateway)
    begun = watched.look().since
    block: dict[str, Any] = {"events": EVENTS, "event_delay_s": 30}
    client = gateway.client()
    with (
        client.chat.completions.with_streaming_response.create(model="sampled", messages=[], extra_body=block),
        client.chat.completions.with_streaming_response.create(model="sampled", messages=[], extra_body=block),
    ):
        load = watched.look(6)
        assert watched.endpoint("p1/sampled") == EndpointLoad(key="p1/sampled", stable=round(12 / 7, 3), burst=2.0)
        assert watched.replica("sampled") == ReplicaLoad(replica_id="sampled", in_flight=2, served=0)
        assert abs(datetime.now(UTC) - load.at) < timedelta(seconds=5)
        assert load.since == begun < load.at
        assert watched.sampler.in_flight("sampled") == 2
    until("both have ended", lambda: watched.look() and watched.sampler.in_flight("sampled") == 0)
    ended = watched.replica("sampled")
    assert ended is not None
    assert (ended.in_flight, ended.served) == (0, 2)


def test_requests_too_short_to_be_seen_keep_an_endpoint_from_being_idle(gateway: Gateway, engine: EchoEngine) -> None:
    gateway.publish(a_route("short", a_track("v1", 100, engine.path)), a_route("never", a_track("v1", 100, engine.path)))
    watched = Watched(gateway)
    watched.look()
    assert ask(gateway, "short", 3) == {"sampled": 3}
    watched.look(5)
    assert watched.endpoint("p1/short") == EndpointLoad(key="p1/short", stable=0.0, burst=0.0, idle_s=4.0)
    assert watched.endpoint("p1/never") is None
    watched.look(60)
    assert watched.endpoint("p1/short") is None


def test_a_new_sampler_does_not_take_old_requests_for_new_ones(gateway: Gateway, engine: EchoEngine) -> None:
    gateway.publish(a_route("old", a_track("v1", 100, engine.path)))
    ask(gateway, "old", 3)
    watched = Watched(gateway)
    watched.look(2)
    assert watched.endpoint("p1/old") is None


def test_what_the_activator_holds_is_queued_until_a_replica_takes_it(gateway: Gateway, engine: EchoEngine) -> None:
    gateway.publish(a_route("queued"))
    watched = Watched(gateway)
    watched.look()

    def queued(count: int) -> EndpointLoad | None:
        watched.look()
        found = watched.endpoint("p1/queued")
        return found if found is not None and found.queued == count else None

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, gateway, "queued", 3)
        held = until("three are held", lambda: queued(3))
        assert held.burst > 0
        assert held.idle_s == 0
        gateway.publish(a_route("queued", a_track("v1", 100, engine.path)))
        assert asked.result(30) == {"sampled": 3}
    until("nothing is held", lambda: queued(0))


def test_a_proxy_that_is_away_leaves_the_last_load_and_its_time(own_gateway: Gateway) -> None:
    engine = own_gateway.echo("e")
    own_gateway.publish(a_route("m", a_track("v1", 100, engine.path)))
    live = Sampler(own_gateway.settings, lambda: own_gateway.feed.routes)

    async def begin() -> "asyncio.Task[None]":
        return asyncio.create_task(live.run())

    async def cancel(task: "asyncio.Task[None]") -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def served() -> int:
        load = live.load()
        return next((r.served for r in load.replicas if r.replica_id == "e"), 0) if load else 0

    task = own_gateway.run(begin())
    until("a first sample", live.load)
    ask(own_gateway, "m", 5)
    until("five counted", lambda: served() == 5)
    end(own_gateway.envoy)
    until("in-flight is unknown", lambda: live.in_flight("e") is None)
    old = live.load()
    assert old is not None
    assert datetime.now(UTC) - old.at > timedelta(seconds=2)
    own_gateway.start_envoy()
    until("Envoy answers", lambda: b"200 OK" in own_gateway.raw(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
    own_gateway.until_acked(own_gateway.version)
    assert ask(own_gateway, "m", 1) == {"e": 1}
    until("counting goes on over the restart", lambda: served() == 6)
    own_gateway.run(cancel(task))
    live.save()
    again = Watched(own_gateway)
    again.look()
    ask(own_gateway, "m", 2)
    again.look()
    assert again.replica("e") == ReplicaLoad(replica_id="e", in_flight=0, served=8)
    own_gateway.run(engine.stop())


@pytest.mark.parametrize("together", [1, 100])
def test_busy_endpoints_are_asked_for_in_groups_or_all_at_once(
    gateway: Gateway, engine: EchoEngine, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    """Together 1: all at once, and with them those that nobody ever asked for anything."""
    monkeypatch.setattr(sampler, "ASKED_TOGETHER", together)
    gateway.publish(*(a_route(f"many{n}", a_track("v1", 100, engine.path)) for n in range(3)), full=True)
    watched = Watched(gateway)
    watched.look()
    ask(gateway, "many0", 1)
    ask(gateway, "many1", 1)
    watched.look()
    load = watched.look()
    assert {e.key: e.idle_s for e in load.endpoints if e.key.startswith("p1/many")} == {"p1/many0": 1.0, "p1/many1": 1.0}


def test_no_error_ends_the_looking(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would begin it again, and a gateway that is silent lets no replica be taken away."""
    monkeypatch.setattr(sampler, "EVERY_S", 0.0)
    sampled = Sampler(gateway.settings, dict)
    looks: list[Exception] = []

    async def look() -> None:
        looks.append([OSError("e"), ValueError("e"), KeyError("e"), RuntimeError("e")][len(looks) % 4])
        raise looks[-1]

    async def until_seen() -> None:
        running = asyncio.create_task(sampled.run())
        while len(looks) < 8 and not running.done():
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    monkeypatch.setattr(sampled, "look", look)
    gateway.run(until_seen())
    assert len(looks) >= 8


def test_keys_with_letters_of_regular_expressions(gateway: Gateway, engine: EchoEngine) -> None:
    gateway.publish(a_route("a.b-1", a_track("v1", 100, engine.path)), a_route("aXb-1", a_track("v1", 100, engine.path)))
    watched = Watched(gateway)
    watched.look()
    with a_stream(gateway, "a.b-1"):
        watched.look()
        assert watched.endpoint("p1/aXb-1") is None
        assert watched.endpoint("p1/a.b-1") is not None
