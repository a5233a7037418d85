"""Row 31: a replica that is ten times as slow as the others is ejected for a while; when all or most are slow, all of them go on serving.

Envoy has no ejection by latency. It gives each request to the less busy of two replicas, so who is slow gets little; the host worker
notices it in the access log, and takes it out of rotation.
"""

import asyncio
import concurrent.futures
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from fleetform.gateway.ejection import Ejection
from fleetform.gateway.intake import Intake
from fleetform.gateway.outliers import Outliers, Rules
from fleetform.gateway.sampler import Sampler
from fleetform.gateway.windows import WindowStore
from tests.gateway.engines import EchoEngine
from tests.gateway.stack import Gateway, a_route, a_track
from tests.harness.engines import OUT
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]
QUICK_S, SLOW_S = 0.1, 1.0
AT_ONCE = 8
RULES = Rules(grace_s=0, spread_s=1)
FIRST, LAST = b'data: {"n": 1}\n\n', b"data: [DONE]\n\n"


class PacedEngine(EchoEngine):
    """An engine that takes pause_s for every plain answer, and whose streams stand still until `goes_on`."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.pause_s = QUICK_S
        self.goes_on = asyncio.Event()

    def _answer(self, writer: asyncio.StreamWriter, wish: dict[str, Any]) -> None:
        asyncio.get_running_loop().call_later(self.pause_s, super()._answer, writer, wish)

    async def _stream(self, writer: asyncio.StreamWriter, wish: dict[str, Any]) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(FIRST + LAST) + FIRST)
        await writer.drain()
        await self.goes_on.wait()
        writer.write(LAST)


class Watch:
    """What the host worker does about outliers, on the gateway's event loop. told: all that it has had taken out, oldest first.

    Its time may be moved on; it never stands still.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.told: list[Mapping[str, str]] = []
        self.passed_s = 0.0
        self._feed = gateway.feed
        settings, routes = gateway.settings, lambda: gateway.feed.routes
        outliers = Outliers(RULES)
        self._sampler = Sampler(settings, routes)
        self._intake = Intake(settings.access_log, WindowStore(), outliers=outliers, elapsed=self.now)
        self._ejection = Ejection(outliers, routes, lambda replica_id: True, self._sampler.in_flight, self.turn, self.now)
        self._tasks: list[asyncio.Task[None]] = []

    def now(self) -> float:
        return time.monotonic() + self.passed_s

    def turn(self, slow: Mapping[str, str]) -> None:
        self.told.append(slow)
        self._feed.take_out(frozenset(slow))

    @property
    def out(self) -> Mapping[str, str]:
        """Who is out now, and why."""
        return self.told[-1] if self.told else {}

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(part.run()) for part in (self._sampler, self._intake, self._ejection)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._intake.close()


@contextmanager
def watched(gateway: Gateway, **pauses_s: float) -> Iterator[tuple[Watch, dict[str, PacedEngine]]]:
    """An endpoint `m` with an engine for each name, and somebody who looks for outliers."""
    made = {name: PacedEngine(gateway.root / f"{name}.sock", name) for name in pauses_s}
    watch = Watch(gateway)
    for name, engine in made.items():
        engine.pause_s = pauses_s[name]
        gateway.run(engine.start())
    gateway.publish(a_route("m", a_track("v1", 100, *(engine.path for engine in made.values()))))
    gateway.run(watch.start())
    try:
        yield watch, made
    finally:
        gateway.run(watch.stop())
        for engine in made.values():
            gateway.run(engine.stop())


def shares(gateway: Gateway, requests: int) -> Counter[str]:
    """Answers by engine, several requests at a time."""
    client = gateway.client()

    def one(_: int) -> str:
        return str(client.chat.completions.create(model="m", messages=[], max_tokens=1).choices[0].message.content)

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return Counter(pool.map(one, range(requests)))


def until_out(gateway: Gateway, watch: Watch, name: str) -> str:
    """Ask until it is out at Envoy too; why it is."""

    def asked() -> str | None:
        shares(gateway, AT_ONCE)
        return watch.out.get(name)

    why = until(f"{name} is ejected", asked, timeout_s=60)
    until("Envoy knows", lambda: is_out(gateway, name))
    return why


def is_out(gateway: Gateway, name: str) -> bool:
    """True when Envoy has it marked."""
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(gateway.settings.envoy_admin_socket))) as admin:
        lines = admin.get("http://envoy/clusters").text.splitlines()
    return any(f"/{name}.sock::health_flags::" in line and OUT in line for line in lines)


def test_row_31_a_replica_that_is_ten_times_slower_is_ejected_and_comes_back(own_gateway: Gateway) -> None:
    with watched(own_gateway, slow=SLOW_S) as (watch, alone), own_gateway.client() as client:
        # With nobody else the stream is its; the others join it.
        stream = client.chat.completions.with_streaming_response.create(model="m", messages=[], extra_body={"events": []})
        with stream as answer:
            parts = answer.iter_bytes()
            said = next(parts)
            with others(own_gateway, alone["slow"]) as quick:
                why = until_out(own_gateway, watch, "slow")
                assert why.startswith("it gets no new requests for 30 s: whole answers took 1.")
                seen = len(alone["slow"].seen)
                counts = shares(own_gateway, 80)
                assert sum(counts.values()) == 80
                assert counts["slow"] == 0
                assert len(alone["slow"].seen) == seen, "nothing new came to it"

                own_gateway._loop.call_soon_threadsafe(alone["slow"].goes_on.set)
                assert said + b"".join(parts) == FIRST + LAST, "what it had under way stayed with it"

                watch.passed_s += 31
                until("it is back", lambda: not watch.out and not is_out(own_gateway, "slow"))
                assert until_out(own_gateway, watch, "slow").startswith("it gets no new requests for 60 s: "), "it is slow still"

                watch.passed_s += 31
                shares(own_gateway, AT_ONCE)
                assert watch.out, "this time for longer"
                alone["slow"].pause_s = QUICK_S
                watch.passed_s += 30
                until("it is back", lambda: not watch.out and not is_out(own_gateway, "slow"))
                told = len(watch.told)
                assert shares(own_gateway, 240)["slow"] > 240 / 3 / 2, "it has its share"
                assert len(watch.told) == told
                assert {name for out in watch.told for name in out} == {"slow"}
                assert len(quick) == 2


@contextmanager
def others(gateway: Gateway, slow: PacedEngine) -> Iterator[list[PacedEngine]]:
    """Two quick engines beside the slow one."""
    made = [PacedEngine(gateway.root / f"{name}.sock", name) for name in ("brisk", "quick")]
    for engine in made:
        gateway.run(engine.start())
    gateway.publish(a_route("m", a_track("v1", 100, slow.path, *(engine.path for engine in made))))
    yield made
    for engine in made:
        gateway.run(engine.stop())


def test_row_31_when_all_are_slow_all_go_on(own_gateway: Gateway) -> None:
    """Once one of them is quick, the other is an outlier: that the looking was at work is seen by it."""
    with watched(own_gateway, one=SLOW_S, two=SLOW_S) as (watch, made):
        counts = shares(own_gateway, 60)
        assert sum(counts.values()) == 60
        assert min(counts.values()) > 60 / 4
        assert watch.told == []
        made["one"].pause_s = QUICK_S
        until_out(own_gateway, watch, "two")
        assert shares(own_gateway, 20) == {"one": 20}
        own_gateway.run(watch.stop())
        own_gateway.stop_feed()
        own_gateway.start_feed()
        until("the next worker puts it back", lambda: not is_out(own_gateway, "two"))


def test_row_31_when_most_are_slow_at_most_one_of_three_is_out(own_gateway: Gateway) -> None:
    with watched(own_gateway, one=SLOW_S, two=SLOW_S, quick=QUICK_S) as (watch, _):
        assert sum(shares(own_gateway, 120).values()) == 120
        assert max((len(out) for out in watch.told), default=0) <= 1
