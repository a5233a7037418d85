"""Requests that are held because, or while, something fails: replicas, the activator, the worker. Real Envoy, real activator."""

import asyncio
import contextlib
import signal
import socket
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.gateway.engines import EchoEngine
from tests.gateway.holding import ask, take_out, until_waiting, waiting
from tests.gateway.processes import end
from tests.gateway.stack import Gateway, a_route, a_track
from tests.harness.waiting import until

pytestmark = pytest.mark.envoy


def test_when_every_replica_has_died_a_replacement_gets_what_came_meanwhile(
    gateway: Gateway, held_engine: EchoEngine, pool: ThreadPoolExecutor
) -> None:
    stub = gateway.stub("h1", "bereft")
    gateway.publish(a_route("bereft", a_track("v1", 100, stub.path)))
    assert ask(gateway, "bereft") == "h1 word1 word2"
    end(stub.process, signal.SIGKILL)
    asked = [pool.submit(ask, gateway, "bereft") for _ in range(50)]
    until_waiting(gateway, "p1/bereft", 50)
    gateway.publish(a_route("bereft", a_track("v1", 100, held_engine.path)))
    assert Counter(each.result(timeout=10) for each in asked) == {"held-engine": 50}


def test_a_replica_that_comes_back_where_it_was_gets_what_came_meanwhile(gateway: Gateway, pool: ThreadPoolExecutor) -> None:
    """No new snapshot says so: that it listens again does."""
    stub = gateway.stub("h2", "back-again")
    gateway.publish(a_route("back-again", a_track("v1", 100, stub.path)))
    end(stub.process, signal.SIGKILL)
    asked = [pool.submit(ask, gateway, "back-again") for _ in range(20)]
    until_waiting(gateway, "p1/back-again", 20)
    gateway.stub("h2", "back-again")
    assert Counter(each.result(timeout=30) for each in asked) == {"h2 word1 word2": 20}


def test_a_replica_that_hangs_is_waited_for_until_it_is_back(gateway: Gateway, held_engine: EchoEngine, pool: ThreadPoolExecutor) -> None:
    gateway.publish(a_route("stuck", a_track("v1", 100, held_engine.path)))
    take_out(gateway, "held-engine")
    asked: list[Future[str]] = []

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


def test_a_crowd_waits_for_a_replica_that_takes_no_connection_for_a_while(gateway: Gateway, pool: ThreadPoolExecutor) -> None:
    """It listens, and its queue of connections is full: what it refuses comes back, and waits."""
    path = gateway.root / "stalled.sock"
    engine = EchoEngine(path, "stalled")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(3)
        gateway.publish(a_route("stalls", phase="ScaledToZero"))
        asked = [pool.submit(ask, gateway, "stalls") for _ in range(100)]
        until_waiting(gateway, "p1/stalls", 100)
        gateway.publish(a_route("stalls", a_track("v1", 100, path)))
        until("some are at the replica", lambda: waiting(gateway, "p1/stalls") < 50, every_s=0.001)
        until("what it refused is back", lambda: waiting(gateway, "p1/stalls") > 90, every_s=0.01)
        gateway.run(engine.start(listening))
        assert Counter(each.result(timeout=60) for each in asked) == {"stalled": 100}
        gateway.run(engine.stop())


def test_replicas_that_refuse_are_not_tried_for_ever(gateway: Gateway, held_engine: EchoEngine) -> None:
    """Ejected for their 503s, they still listen. It ends by the deadline, with pauses between the tries."""
    gateway.publish(a_route("refuses", a_track("v1", 100, held_engine.path), request_timeout_s=3))
    for _ in range(3):
        ask(gateway, "refuses", answer_status=503)
    begun = time.monotonic()
    assert ask(gateway, "refuses") in ("no_ready_replica", "held-engine")
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_an_activator_held_when_it_ended_is_held_by_the_next(
    own_gateway: Gateway, pool: ThreadPoolExecutor, how: signal.Signals
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


def test_what_waits_survives_the_worker(own_gateway: Gateway, pool: ThreadPoolExecutor) -> None:
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
