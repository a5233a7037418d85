"""F15: growth of the control API. Unchanged PUT, GET and a list page with 10,000 endpoints declared ÷ the same with 100.

Two servers, each with a PostgreSQL of its own, are asked in turn, so that both sides meet the same noise; the medians are compared. The
servers run the control API alone. Endpoints beyond the first are copies of its rows: what is measured is reading, not filling.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import httpx2

from benchmarks.report import report
from fleetform.host import postgres
from tests.harness.server import FLEETFORM, Server
from tests.harness.waiting import until

SMALL, LARGE = 100, 10_000
ROUNDS = 400
WARM_UP = 50
BOUND = 1.5
SPEC = {"instance_type": "cpu-small", "variants": {"v1": {"model_version": "m:v1"}}, "labels": {"team": "bench"}}
COPY = (
    "INSERT INTO endpoint"
    " (uid, project, name, alive, generation, revision, created_at, instance_type, booked, spec, effective, status)"
    " SELECT gen_random_uuid(), project, 'e' || lpad(n::text, 5, '0'), alive, generation, revision, created_at, instance_type, booked,"
    " spec, effective, status FROM endpoint, generate_series(1, $1::int - 1) AS n WHERE name = 'e00000'",
    "INSERT INTO endpoint_version (endpoint_uid, version_uid, held_by) SELECT e.uid, v.version_uid, v.held_by FROM endpoint e,"
    " endpoint_version v WHERE e.name <> 'e00000' AND $1::int > 0",
    "INSERT INTO event (subject, project, at, kind, reason, message, generation) SELECT e.uid, e.project, e.created_at, 'Normal',"
    " 'Created', 'generation 1 was declared', 1 FROM endpoint e WHERE e.name <> 'e00000' AND $1::int > 0",
)


class ApiServer(Server):
    """A server that is the control API alone."""

    def start(self) -> None:
        self.process = self._spawn([FLEETFORM, "server", "--role", "api"], "server")
        until("the server is ready", self._ready, timeout_s=60)


class Side:
    """One server with its number of endpoints, and the calls that are timed."""

    def __init__(self, server: Server, endpoints: int) -> None:
        self.endpoints = endpoints
        self.client = httpx2.Client(base_url=server.base_url, headers={"authorization": f"Bearer {server.token}"}, timeout=60)
        for path, spec in (
            ("/v1/projects/bench", {"artifact_prefixes": ["file:///bench/"]}),
            ("/v1/projects/bench/quotas/cpu-small", {"max_replicas": 2 * LARGE}),
            ("/v1/projects/bench/model-versions/m/v1", {"artifact": "file:///bench/m/", "framework": "pytorch", "runtime": "cpu"}),
            ("/v1/projects/bench/endpoints/e00000", SPEC),
        ):
            self._must(self.client.put(path, json={"spec": spec}), 201)
        asyncio.run(_fill(postgres.url(server.settings), endpoints))

    def put(self, chance: random.Random) -> None:
        self._must(self.client.put(f"/v1/projects/bench/endpoints/{self._name(chance)}", json={"spec": SPEC}), 200)

    def get(self, chance: random.Random) -> None:
        self._must(self.client.get(f"/v1/projects/bench/endpoints/{self._name(chance)}"), 200)

    def page(self, chance: random.Random) -> None:
        """Two pages of 25, of which the second is reached by a cursor."""
        first = self._must(self.client.get("/v1/projects/bench/endpoints", params={"limit": 25}), 200)
        second = self._must(self.client.get("/v1/projects/bench/endpoints", params={"limit": 25, "cursor": first["next_cursor"]}), 200)
        assert len(second["items"]) == 25

    def _name(self, chance: random.Random) -> str:
        return f"e{chance.randrange(self.endpoints):05}"

    def _must(self, answer: httpx2.Response, status: int) -> dict[str, Any]:
        assert answer.status_code == status, answer.text
        body: dict[str, Any] = answer.json()
        return body


def main() -> None:
    """Time each call on both sides in turn; the worst ratio counts."""
    with ApiServer() as few, ApiServer() as many:
        small, large = Side(few, SMALL), Side(many, LARGE)
        ratios = {}
        for name in ("put", "get", "page"):
            ours, floor = _medians(getattr(large, name), getattr(small, name))
            ratios[name] = ours / floor
            print(f"{name:<5} {LARGE} endpoints {ours * 1e3:.2f} ms, {SMALL} endpoints {floor * 1e3:.2f} ms, {ratios[name]:.2f}")
    shown = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
    report("F15", max(ratios.values()), BOUND, f"with {LARGE} endpoints {shown}", f"with {SMALL} endpoints 1.00", at_most=True)


def _medians(*calls: Callable[[random.Random], None]) -> tuple[float, ...]:
    chance = random.Random(15)
    times: tuple[list[float], ...] = tuple([] for _ in calls)
    for turn in range(WARM_UP + ROUNDS):
        # In a fresh order each turn: what ran just before warms or cools what comes next.
        for side in chance.sample(range(len(calls)), len(calls)):
            start = time.perf_counter()
            calls[side](chance)
            if turn >= WARM_UP:
                times[side].append(time.perf_counter() - start)
    return tuple(statistics.median(taken) for taken in times)


async def _fill(url: str, endpoints: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in COPY:
            await connection.execute(statement, endpoints)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


if __name__ == "__main__":
    main()
