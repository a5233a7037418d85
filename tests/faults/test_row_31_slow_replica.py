"""Row 31: a replica that is ten times as slow as the others gets little of the load; when all are slow, all of them go on serving.

Envoy has no ejection by latency; it gives each request to the less busy of two replicas, and who is slow is busy.
"""

import asyncio
import concurrent.futures
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.gateway.engines import EchoEngine
from tests.gateway.stack import Gateway, a_route, a_track

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]
QUICK_S, SLOW_S = 0.02, 0.2
REQUESTS, AT_ONCE = 400, 8


class PacedEngine(EchoEngine):
    """An engine that takes pause_s for every answer."""

    pause_s = QUICK_S

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.pause_s)
        await super()._serve_one(reader, writer)


@contextmanager
def engines(gateway: Gateway, **pauses_s: float) -> Iterator[list[PacedEngine]]:
    """One engine for each name, listening."""
    made = []
    for name, pause_s in pauses_s.items():
        engine = PacedEngine(gateway.root / f"{name}.sock", name)
        engine.pause_s = pause_s
        gateway.run(engine.start())
        made.append(engine)
    yield made
    for engine in made:
        gateway.run(engine.stop())


def shares(gateway: Gateway, model: str) -> Counter[str]:
    """Answers by engine, several requests at a time."""
    client = gateway.client()

    def one(_: int) -> str:
        return str(client.chat.completions.create(model=model, messages=[], max_tokens=1).choices[0].message.content)

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return Counter(pool.map(one, range(REQUESTS)))


def test_row_31_a_replica_that_is_ten_times_slower_gets_little(own_gateway: Gateway) -> None:
    with engines(own_gateway, quick=QUICK_S, brisk=QUICK_S, slow=SLOW_S) as made:
        own_gateway.publish(a_route("m", a_track("v1", 100, *(engine.path for engine in made))))
        counts = shares(own_gateway, "m")
    assert sum(counts.values()) == REQUESTS
    assert counts["slow"] < REQUESTS / 3 / 2, "less than half of an even share"


def test_row_31_when_all_are_slow_all_go_on(own_gateway: Gateway) -> None:
    with engines(own_gateway, one=SLOW_S, two=SLOW_S) as made:
        own_gateway.publish(a_route("m", a_track("v1", 100, *(engine.path for engine in made))))
        counts = shares(own_gateway, "m")
    assert sum(counts.values()) == REQUESTS
    assert min(counts.values()) > REQUESTS / 4
