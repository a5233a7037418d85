"""F7: a PUT of a weight → the first request routed by it, with 1,000 endpoints declared: p99 ÷ the floor (p50 of a bare ADS push → routed).

Both sides run on this machine in turn, with the same Envoy, filter chain, engine and client. Ours is a whole Fleetform: control API,
PostgreSQL with fsync, reconciler, host worker with its fsynced snapshot, Envoy. The clock runs from the sending of the PUT. Each change
starts from a settled endpoint: the figure is how long a change takes, not how many go through.
"""

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import httpx2

from benchmarks import floor
from benchmarks.probe import Probe
from benchmarks.report import report
from tests.gateway.engines import STUB
from tests.harness.stack import Stack
from tests.host.artifacts.making import a_folder

ENDPOINTS = 1000
CHANGES = 300
BOUND = 25.0
PROJECT, NAME = "bench", floor.NAME
VARIANTS = ("one", "two")


def main() -> None:
    """Measure the floor, then ours, then the floor again; the two floors are taken together."""
    floors = floor.measure(ENDPOINTS, CHANGES // 2)
    with Stack() as stack:
        ours = asyncio.run(_measure(stack))
    floors += floor.measure(ENDPOINTS, CHANGES // 2)
    p50, p99 = statistics.median(floors), statistics.quantiles(ours, n=100)[98]
    text = f"p99 {p99 * 1000:.1f} ms (p50 {statistics.median(ours) * 1000:.1f} ms)"
    report("F7", p99 / p50, BOUND, text, f"bare ADS push p50 {p50 * 1000:.2f} ms, {ENDPOINTS} endpoints", at_most=True)


async def _measure(stack: Stack) -> list[float]:
    environment = stack.environment
    headers = {"authorization": f"Bearer {environment['FLEETFORM_TOKEN']}"}
    async with httpx2.AsyncClient(base_url=environment["FLEETFORM_BASE_URL"], headers=headers, timeout=120) as api:
        key = await _prepare(api, stack.home)
        port = int(environment["OPENAI_BASE_URL"].rpartition(":")[2].partition("/")[0])
        async with Probe(port, key, NAME) as probe:
            return await _change(api, probe)


async def _change(api: httpx2.AsyncClient, probe: Probe) -> list[float]:
    spent = []
    engine = await probe.engine()
    for number in range(CHANGES):
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
    await _put(api, f"endpoints/{NAME}", _endpoint(first=50))
    for number in range(ENDPOINTS - 1):
        await _put(api, f"endpoints/other-{number}", {"instance_type": "huge", "variants": {"one": {"model_version": "m:v1"}}})
    await _until(api, f"endpoints/{NAME}", "Ready")
    await _put(api, f"endpoints/{NAME}", _endpoint(first=100))
    await _put(api, "tokens/bench", {"roles": ["inference.invoker"]})
    answer = await api.post(f"/v1/projects/{PROJECT}/tokens/bench/credentials", json={})
    assert answer.is_success, answer.text
    return str(answer.json()["secret"])


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
