"""F11: 1,000 endpoints with 10,000 replicas on the fake driver: what an idle server costs, and how soon a killed one is steady again.

One server process with PostgreSQL beside it. Idle: its processor time over a minute in which nobody asks for anything. Steady after a
SIGKILL: it leads, has looked at every endpoint, has told the gateway every route, and its processor rests. Three targets: at most
20 % of one core, 512 MiB, 30 s.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

import httpx2

from tests.harness.server import Server
from tests.harness.waiting import until

ENDPOINTS, REPLICAS = 1_000, 10
IDLE_S = 60.0
CORE_SHARE, RSS_MIB, STEADY_S = 0.20, 512.0, 30.0
RESTS_S = 3
"""Seconds in a row with at most CORE_SHARE, by which the server counts as steady; they are not counted themselves."""
SIDE_BY_SIDE = 8
FILLED_WITHIN_S = 1800.0


def main() -> int:
    """Fill, rest, measure, kill, measure; exit status 0 when all three targets are met."""
    endpoints = int(sys.argv[1]) if len(sys.argv) > 1 else ENDPOINTS
    with Server() as server:
        begun = time.monotonic()
        asyncio.run(_fill(server, endpoints))
        print(f"{endpoints} endpoints with {endpoints * REPLICAS} replicas are ready after {time.monotonic() - begun:.0f} s", flush=True)
        _until_it_rests(server.process.pid)
        share = _core_share(server.process.pid, IDLE_S)
        before_mib = _rss_mib(server.process.pid)
        print(f"idle: {share * 100:.1f} % of a core over {IDLE_S:.0f} s, {before_mib:.0f} MiB", flush=True)
        killed_at = time.monotonic()
        server.kill()
        server.start()
        steady_s = _until_it_rests(server.process.pid) - killed_at
        assert asyncio.run(_ready(server)) == endpoints, "the restarted server has lost what was ready"
        rss_mib = max(before_mib, _rss_mib(server.process.pid))
    held = share <= CORE_SHARE and rss_mib <= RSS_MIB and steady_s <= STEADY_S
    print(
        f"F11 {'ok' if held else 'short'} idle {share * 100:.1f} % (<= {CORE_SHARE * 100:.0f} %), {rss_mib:.0f} MiB (<= {RSS_MIB:.0f}),"
        f" steady after {steady_s:.1f} s (<= {STEADY_S:.0f}) ours {endpoints} endpoints / {endpoints * REPLICAS} replicas,"
        " SkyServe about 600 MB for each service"
    )
    return 0 if held else 1


async def _fill(server: Server, endpoints: int) -> None:
    async with _client(server) as http:
        for path, body in (
            ("", {"artifact_prefixes": ["file:///bench/"]}),
            ("/quotas/cpu-small", {"max_replicas": 2 * endpoints * REPLICAS}),
            ("/model-versions/m/v1", {"artifact": "file:///bench/m/", "framework": "pytorch", "runtime": "cpu"}),
        ):
            await _put(http, path, body)
        spec = {
            "instance_type": "cpu-small",
            "variants": {"v1": {"model_version": "m:v1"}},
            "scaling": {"min_replicas": REPLICAS, "max_replicas": 2 * REPLICAS},
        }
        gate = asyncio.Semaphore(SIDE_BY_SIDE)

        async def put(number: int) -> None:
            async with gate:
                await _put(http, f"/endpoints/e{number:04}", spec)

        await asyncio.gather(*(put(number) for number in range(endpoints)))
        deadline = time.monotonic() + FILLED_WITHIN_S
        while (ready := await _count_ready(http)) < endpoints:
            assert time.monotonic() < deadline, f"{ready} of {endpoints} endpoints are ready"
            await asyncio.sleep(5.0)


async def _put(http: httpx2.AsyncClient, path: str, spec: object) -> None:
    """PUT, again for as long as the server says that it is busy."""
    while (answer := await http.put(f"/v1/projects/bench{path}", json={"spec": spec})).status_code == 503:
        await asyncio.sleep(1.0)
    assert answer.is_success, answer.text


async def _ready(server: Server) -> int:
    async with _client(server) as http:
        return await _count_ready(http)


async def _count_ready(http: httpx2.AsyncClient) -> int:
    """Endpoints that are ready with all of their replicas."""
    found, cursor = 0, None
    while True:
        query = {"limit": "200"} | ({} if cursor is None else {"cursor": cursor})
        answer = await http.get("/v1/projects/bench/endpoints", params=query)
        assert answer.is_success, answer.text
        page = answer.json()
        found += sum(1 for e in page["items"] if e["status"]["ready"] and e["status"]["replicas"]["ready"] == REPLICAS)
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def _client(server: Server) -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {server.token}"}
    return httpx2.AsyncClient(base_url=server.base_url, headers=headers, timeout=120, trust_env=False)


def _until_it_rests(pid: int) -> float:
    """When the server began to rest, by the monotonic clock."""
    rested = 0

    def rests() -> bool:
        nonlocal rested
        rested = rested + 1 if _core_share(pid, 1.0) <= CORE_SHARE else 0
        return rested >= RESTS_S

    until("the server rests", rests, timeout_s=600, every_s=0.0)
    return time.monotonic() - RESTS_S


def _core_share(pid: int, seconds: float) -> float:
    """Processor time of a process in the next seconds ÷ their length."""
    begun, before = time.monotonic(), _cpu_s(pid)
    time.sleep(seconds)
    return (_cpu_s(pid) - before) / (time.monotonic() - begun)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.exit(main())
