"""A second control API beside a `Server`, on the same database and home, and its calls in few words."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from tests.harness.ports import free_ports
from tests.harness.server import FLEETFORM, Server
from tests.harness.waiting import until

VERSION = {"artifact": "file:///models/m/", "framework": "pytorch", "runtime": "cpu"}


def spec(**fields: Any) -> dict[str, Any]:
    """The smallest endpoint, of one replica."""
    return {"instance_type": "cpu-small", "variants": {"v1": {"model_version": "m:v1"}}, **fields}


@contextmanager
def another(server: Server) -> Iterator[str]:
    """The address of a second server process of the same region."""
    (port,) = free_ports(1)
    environ = {**server.variables, "FLEETFORM_API_PORT": str(port)}
    log = (server.home / "second.log").open("ab")
    process = subprocess.Popen(
        [FLEETFORM, "server", "--role", "api,reconciler"], env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    base_url = f"http://127.0.0.1:{port}"
    try:
        until("the second server is ready", lambda: _is_ready(base_url), timeout_s=60)
        yield base_url
    finally:
        process.kill()
        process.wait(timeout=20)
        log.close()


def _is_ready(base_url: str) -> bool:
    try:
        return httpx2.get(f"{base_url}/readyz", timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False


def client(base_url: str, token: str) -> httpx2.AsyncClient:
    """Calls below /v1/projects/acme, as the region's administrator."""
    limits = httpx2.Limits(max_connections=100)
    headers = {"authorization": f"Bearer {token}"}
    return httpx2.AsyncClient(base_url=f"{base_url}/v1/projects/acme", headers=headers, timeout=60, limits=limits, trust_env=False)


async def declare(http: httpx2.AsyncClient, quota: int) -> None:
    """The project with its quota and a version."""
    for path, wish in (("", {"artifact_prefixes": ["file:///models/"]}), ("/quotas/cpu-small", {"max_replicas": quota})):
        answer = await http.put(path, json={"spec": wish})
        assert answer.is_success, answer.text
    answer = await http.put("/model-versions/m/v1", json={"spec": VERSION})
    assert answer.is_success, answer.text
