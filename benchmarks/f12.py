"""F12: `terraform apply` of 100 endpoints that are ready at once ÷ 100 bare PUTs of the same endpoints, one after another.

Both sides speak to one control API on the fake driver, whose replicas are ready as soon as they are placed. The PUTs go over one
kept-alive connection, and each is followed until the endpoint is ready, as Terraform does.
"""

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import httpx2

from benchmarks.report import report
from tests.harness.server import Server
from tests.harness.terraform import Terraform

ENDPOINTS = 100
BOUND = 3.0


def main() -> None:
    """Time both sides, twice each in turn, and compare the better of each."""
    with Server() as server, tempfile.TemporaryDirectory() as folder:
        client = httpx2.Client(base_url=server.base_url, headers={"authorization": f"Bearer {server.token}"}, timeout=120)
        _prepare(client)
        terraform = Terraform(Path(folder), {"FLEETFORM_BASE_URL": server.base_url, "FLEETFORM_TOKEN": server.token})
        terraform.write(_configuration())
        bare, applied = [], []
        for _ in range(2):
            bare.append(_bare_puts(client))
            _delete_all(client)
            start = time.perf_counter()
            terraform.apply()
            applied.append(time.perf_counter() - start)
            terraform.destroy()
        ours, reference = min(applied), min(bare)
        report("F12", ours / reference, BOUND, f"terraform apply {ours:.2f} s", f"{ENDPOINTS} bare PUTs {reference:.2f} s", at_most=True)


def _prepare(client: httpx2.Client) -> None:
    big = {"cpu_millis": 1, "memory_mib": 1}
    _put(client, "/v1/instance-types/small", big)
    _put(client, "/v1/projects/bench", {"artifact_prefixes": ["file:///bench/"]})
    _put(client, "/v1/projects/bench/quotas/small", {"max_replicas": 2 * ENDPOINTS})
    version = {"artifact": "file:///bench/m/", "framework": "pytorch", "runtime": "cpu"}
    _put(client, "/v1/projects/bench/model-versions/m/v1", version)
    deadline = time.monotonic() + 60
    while True:
        status = client.get("/v1/projects/bench/model-versions/m/v1").json()["status"]
        if any(c["type"] == "Verified" and c["status"] for c in status["conditions"]):
            return
        assert time.monotonic() < deadline, status
        time.sleep(0.05)


def _put(client: httpx2.Client, path: str, spec: Mapping[str, object]) -> dict[str, object]:
    answer = client.put(path, json={"spec": spec})
    assert answer.status_code in (200, 201), answer.text
    return dict(json.loads(answer.text))


def _bare_puts(client: httpx2.Client) -> float:
    spec = {"instance_type": "small", "variants": {"main": {"model_version": "m:v1"}}}
    start = time.perf_counter()
    for index in range(ENDPOINTS):
        path = f"/v1/projects/bench/endpoints/e{index}"
        answer = client.put(path, json={"spec": spec})
        assert answer.status_code == 201, answer.text
    for index in range(ENDPOINTS):
        answer = client.get(f"/v1/projects/bench/endpoints/e{index}", params={"wait_for": "ready", "generation": 1, "timeout_s": 60})
        assert answer.json()["status"]["ready"], answer.text
    return time.perf_counter() - start


def _delete_all(client: httpx2.Client) -> None:
    for index in range(ENDPOINTS):
        client.delete(f"/v1/projects/bench/endpoints/e{index}").raise_for_status()
    for index in range(ENDPOINTS):
        client.get(f"/v1/projects/bench/endpoints/e{index}", params={"wait_for": "deleted", "timeout_s": 60})


def _configuration() -> str:
    return f"""
provider "fleetform" {{ project = "bench" }}

resource "fleetform_endpoint" "e" {{
  count         = {ENDPOINTS}
  name          = "e${{count.index}}"
  instance_type = "small"
  variants      = {{ main = {{ model_version = "m:v1" }} }}
}}
"""


if __name__ == "__main__":
    main()
