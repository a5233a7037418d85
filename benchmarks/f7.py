"""F7: a PUT of a weight → the first request routed by it, with 1,000 endpoints declared: p99 ÷ the floor (p50 of a bare ADS push → routed).

Both sides run on this machine in turn, with the same Envoy, filter chain, engine and client. Ours is a whole Fleetform: control API,
PostgreSQL with fsync, reconciler, host worker with its fsynced snapshot, Envoy. The clock runs from the sending of the PUT. Each change
starts from a settled endpoint: the figure is how long a change takes, not how many go through. Half of the changes are made while
another endpoint is in the middle of a rollout, a step every second; the figure is that of the slower half.

Two lines before the figure say what a change costs with ten endpoints and with 1,000: from push to routed, and in bytes that the
gateway stores for it, beside those of all routes. Measured once the server has planned all that was declared.
"""

import asyncio
import itertools
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import msgspec

from benchmarks import floor
from benchmarks.probe import Probe
from benchmarks.report import report
from fleetform.gateway.store import SnapshotReader
from tests.gateway.engines import STUB
from tests.harness.stack import Stack
from tests.host.artifacts.making import a_folder

ENDPOINTS = 1000
CHANGES = 300
BOUND = 25.0
PROJECT, NAME, MOVING = "bench", floor.NAME, "moving"
VARIANTS = ("one", "two")
FEW = 10
LATEST = 20


class Figures(NamedTuple):
    """Seconds of each change, and bytes: that the gateway stores for an update, and that all routes take."""

    at_rest: list[float]
    in_rollout: list[float]
    change_bytes: float
    snapshot_bytes: int


def main() -> None:
    """Measure the floor, then ours, then the floor again; the two floors are taken together."""
    floors = floor.measure(ENDPOINTS, CHANGES // 2)
    with Stack() as stack:
        ours = asyncio.run(_measure(stack))
    few = floor.measure(FEW, CHANGES // 2)
    floors += floor.measure(ENDPOINTS, CHANGES // 2)
    many = statistics.median(floors)
    print(f"bare ADS push p50: {many * 1000:.2f} ms with {ENDPOINTS} endpoints, {statistics.median(few) * 1000:.2f} ms with {FEW}")
    print(f"stored for a change: {ours.change_bytes:.0f} bytes, of {ours.snapshot_bytes} bytes that all routes take")
    p99 = max(_p99(ours.at_rest), _p99(ours.in_rollout))
    text = f"p99 {_ms(_p99(ours.at_rest))} (p50 {_ms(statistics.median(ours.at_rest))}), {_ms(_p99(ours.in_rollout))} during a rollout"
    report("F7", p99 / many, BOUND, text, f"bare ADS push p50 {many * 1000:.2f} ms, {ENDPOINTS} endpoints", at_most=True)


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


async def _measure(stack: Stack) -> Figures:
    environment = stack.environment
    headers = {"authorization": f"Bearer {environment['FLEETFORM_TOKEN']}"}
    async with httpx2.AsyncClient(base_url=environment["FLEETFORM_BASE_URL"], headers=headers, timeout=120) as api:
        key = await _prepare(api, stack.home)
        port = int(environment["OPENAI_BASE_URL"].rpartition(":")[2].partition("/")[0])
        async with Probe(port, key, NAME) as probe:
            at_rest = await _change(api, probe)
            change_bytes = _stored(stack.home)
            moving = asyncio.create_task(_roll(api))
            in_rollout = await _change(api, probe)
            assert not moving.done(), "the rollout ended before the changes did"
            moving.cancel()
            await asyncio.wait({moving})
    return Figures(at_rest, in_rollout, change_bytes, len(_everything(stack.home)))


def _stored(home: Path) -> float:
    """Bytes that the gateway has written for an update, on average over the latest."""
    (journal,) = (home / "gateway").glob("journal-*")
    return statistics.fmean(len(line) for line in journal.read_bytes().splitlines()[-LATEST:])


def _everything(home: Path) -> bytes:
    """All routes, as the gateway would write them anew."""
    reader = SnapshotReader(home / "gateway")
    try:
        return msgspec.json.encode(reader.snapshot())
    finally:
        reader.close()


async def _roll(api: httpx2.AsyncClient) -> None:
    """One rollout after another of an endpoint that nobody asks, a step a second, until cancelled."""
    steps = [*range(1, 100, 11), 100]
    for number in itertools.count():
        rollout = {"steps": steps, "step_hold_s": 1, "bake_s": 3600, "retry": str(number)}
        # Now the one, now the other, and never the split from before: going back would be a single step.
        first = (100, 0, 50, 0, 100, 50)[number % 6]
        await _put(api, f"endpoints/{MOVING}", {**_endpoint(first), "rollout": rollout})
        await api.get(f"/v1/projects/{PROJECT}/endpoints/{MOVING}", params={"wait_for": "ready", "timeout_s": 60})


async def _change(api: httpx2.AsyncClient, probe: Probe) -> list[float]:
    spent = []
    engine = await probe.engine()
    for number in range(CHANGES // 2):
        spec = _endpoint(first=number % 2 * 100)
        start = time.perf_counter()
        await _put(api, f"endpoints/{NAME}", spec)
        engine, routed = await probe.other_than(engine)
        spent.append(routed - start)
        await api.get(f"/v1/projects/{PROJECT}/endpoints/{NAME}", params={"wait_for": "ready", "timeout_s": 10})
    return spent


async def _prepare(api: httpx2.AsyncClient, home: Path) -> str:
    """Declare everything, wait until the measured endpoint is ready, and mint a key.

    The other endpoints ask for more than the machine has: declared and routed to the activator, without a process each.
    """
    models = home / "models"
    for version in ("v1", "v2"):
        a_folder(models / version)
    argv = [sys.executable, *STUB[1:], "--socket", "{socket}", "--served-name", "{served_name}", "--instance", "{instance}"]
    await _put(api, "/v1/engines/stub", {"argv": argv})
    await _put(api, "/v1/instance-types/tiny", {"cpu_millis": 1, "memory_mib": 1})
    await _put(api, "/v1/instance-types/huge", {"cpu_millis": 1_000_000, "memory_mib": 100_000_000})
    await _put(api, f"/v1/projects/{PROJECT}", {"artifact_prefixes": [f"file://{models}/"]})
    for instance_type in ("tiny", "huge"):
        await _put(api, f"quotas/{instance_type}", {"max_replicas": 2 * ENDPOINTS})
    for version in ("v1", "v2"):
        spec = {"artifact": f"file://{models}/{version}/", "framework": "pytorch", "runtime": "cpu", "engine": "stub"}
        await _put(api, f"model-versions/m/{version}", spec)
        await _until(api, f"model-versions/m/{version}", "Verified")
    for name in (NAME, MOVING):
        await _put(api, f"endpoints/{name}", _endpoint(first=50))
    for number in range(ENDPOINTS - 2):
        await _put(api, f"endpoints/other-{number}", {"instance_type": "huge", "variants": {"one": {"model_version": "m:v1"}}})
    for name in (NAME, MOVING):
        await _until(api, f"endpoints/{name}", "Ready")
    while not await _all_looked_at(api):
        await asyncio.sleep(0.5)
    await _put(api, f"endpoints/{NAME}", _endpoint(first=100))
    await _put(api, "tokens/bench", {"roles": ["inference.invoker"]})
    answer = await api.post(f"/v1/projects/{PROJECT}/tokens/bench/credentials", json={})
    assert answer.is_success, answer.text
    return str(answer.json()["secret"])


async def _all_looked_at(api: httpx2.AsyncClient) -> bool:
    """True when the server has planned every endpoint. Before, what is measured is how it takes 1,000 new ones in."""
    page: dict[str, Any] = {"next_cursor": ""}
    while page["next_cursor"] is not None:
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
        page = (await api.get(f"/v1/projects/{PROJECT}/endpoints", params={"limit": 200, **cursor})).json()
        if any(each["status"]["observed_generation"] < each["metadata"]["generation"] for each in page["items"]):
            return False
    return True


def _endpoint(first: int) -> dict[str, Any]:
    """The measured endpoint: two versions, both with a warm replica, all traffic moved in one step; no engine starts or ends by it."""
    weights = (first, 100 - first)
    variants = {name: {"model_version": f"m:v{n + 1}", "weight": weights[n]} for n, name in enumerate(VARIANTS)}
    return {
        "instance_type": "tiny",
        "variants": variants,
        "scaling": {"min_replicas": 1, "max_replicas": 2},
        "rollout": {"steps": [100], "step_hold_s": 0, "bake_s": 3600},
    }


async def _put(api: httpx2.AsyncClient, path: str, spec: dict[str, Any]) -> None:
    answer = await api.put(path if path.startswith("/") else f"/v1/projects/{PROJECT}/{path}", json={"spec": spec})
    assert answer.is_success, answer.text


async def _until(api: httpx2.AsyncClient, path: str, condition: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        status = (await api.get(f"/v1/projects/{PROJECT}/{path}")).json()["status"]
        if any(each["type"] == condition and each["status"] for each in status["conditions"]):
            return
        assert time.monotonic() < deadline, json.dumps(status)
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    main()
