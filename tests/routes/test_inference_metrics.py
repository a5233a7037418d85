"""What `/metrics` says of inference: figures by variant and version, and nothing where nothing is known."""

from datetime import timedelta
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fleetform.domain.load import EndpointLoad, GatewayLoad, Histogram, HostLoad, TrackWindow, Windows, cell_of
from fleetform.domain.replica import ReplicaPhase
from fleetform.routes.application import create_metrics_app
from fleetform.store import database
from tests.builders import NOON
from tests.control_api import Api, Loads, endpoint_spec
from tests.routes.test_replicas import _add

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
AT = NOON
TRACK = "v1.abcd0123"


async def scraped(api: Api) -> dict[str, dict[tuple[str, ...], float]]:
    """Family → label values, in the order of their names → value."""
    metrics: Any = create_metrics_app(api.app, api.deps)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=metrics), base_url="http://metrics.test") as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples if family.name.startswith("inference_") else ():
            found.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


def ended(requests: int, errors: int, latency_ms: float) -> dict[str, Windows]:
    times = Histogram(counts={cell_of(latency_ms): requests - errors})
    track = TrackWindow(track=TRACK, requests=requests, errors=errors, latency=times, ttft=times)
    return {"acme/chat": Windows(since=AT - timedelta(seconds=60), until=AT, tracks=(track,))}


def waiting(queued: int) -> HostLoad:
    endpoint = EndpointLoad(key="acme/chat", stable=1, burst=1, queued=queued)
    return HostLoad(host="h", gateway=GatewayLoad(at=AT, since=AT, endpoints=(endpoint,)))


async def test_figures_of_all_gateways_by_variant_and_version(api: Api) -> None:
    await api.project()
    uid = (await api.must_put("/projects/acme/endpoints/chat", endpoint_spec()))["metadata"]["uid"]
    await _add(api, uid, "r1")
    await _add(api, uid, "r2", track="v1.older000")
    await _add(api, uid, "r3", ReplicaPhase.STARTING)
    await _add(api, uid, "r4", ReplicaPhase.STOPPED)
    loads = api.deps.loads
    assert isinstance(loads, Loads)
    loads.found = (waiting(2), waiting(3))
    loads.ended = (ended(90, 0, 10), ended(30, 12, 1000))
    found = await scraped(api)
    assert found["inference_requests_per_sec"] == {("chat", "m:v1", "acme", "v1"): 2.0}
    assert found["inference_error_rate"] == {("chat", "m:v1", "acme", "v1"): 0.1}
    assert found["inference_queue_depth"] == {("chat", "acme"): 5.0}
    assert found["inference_replica_count"] == {
        ("chat", "m:v1", "Ready", "acme", "v1"): 2.0,
        ("chat", "m:v1", "Starting", "acme", "v1"): 1.0,
    }
    latency = {labels[3]: value for labels, value in found["inference_latency_ms"].items()}
    assert latency["0.5"] == pytest.approx(10, rel=0.11)
    assert latency["0.95"] == latency["0.99"] == pytest.approx(1000, rel=0.11)
    assert found["inference_ttft_ms"] == found["inference_latency_ms"]


async def test_an_endpoint_that_nobody_asks_has_its_replicas_and_no_figures(api: Api) -> None:
    await api.project()
    uid = (await api.must_put("/projects/acme/endpoints/chat", endpoint_spec()))["metadata"]["uid"]
    await _add(api, uid, "r1")
    assert await scraped(api) == {"inference_replica_count": {("chat", "m:v1", "Ready", "acme", "v1"): 1.0}}


async def test_a_deleted_endpoint_is_not_counted(api: Api) -> None:
    await api.project()
    uid = (await api.must_put("/projects/acme/endpoints/chat", endpoint_spec()))["metadata"]["uid"]
    await _add(api, uid, "r1")
    await database.rows("UPDATE endpoint SET alive = false, deleted_at = now() WHERE uid = {}::uuid", uid)
    assert await scraped(api) == {}


async def test_replicas_that_are_ejected_for_being_slow_are_counted(api: Api) -> None:
    await api.project()
    uid = (await api.must_put("/projects/acme/endpoints/chat", endpoint_spec()))["metadata"]["uid"]
    slow = "it gets no new requests for 30 s"
    await _add(api, uid, "r1")
    await _add(api, uid, "r2", slow=slow)
    await _add(api, uid, "r3", slow=slow, track="v1.older000")
    await _add(api, uid, "r4", ReplicaPhase.DRAINING, slow=slow)
    assert (await scraped(api))["inference_replicas_ejected"] == {("chat", "m:v1", "acme", "v1"): 2.0}
