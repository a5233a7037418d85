"""What HTTP itself asks for: bodies, methods, sizes, problems, health, metrics, the document."""

from typing import Any

import httpx2
import pytest

from fleetform.routes.application import create_metrics_app
from fleetform.store import database
from tests.control_api import Api, endpoint_spec

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
PATH = "/v1/projects/acme/endpoints/chat"
JSON = {"content-type": "application/json"}


async def _put(api: Api, content: bytes, headers: dict[str, str] = JSON) -> httpx2.Response:
    return await api.client.put(PATH, content=content, headers={"authorization": f"Bearer {api.key}", **headers})


@pytest.mark.parametrize(
    ("content", "headers", "status", "problem"),
    [
        (b"{", JSON, 400, "malformed"),
        (b"", JSON, 400, "malformed"),
        (b"\xff\xfe", JSON, 400, "malformed"),
        (b'{"spec": {"labels": {"a": "\\ud800"}}}', JSON, 400, "malformed"),
        (b"[" * 200_000, JSON, 400, "malformed"),
        (b"[]", JSON, 422, "invalid-spec"),
        (b"null", JSON, 422, "invalid-spec"),
        (b"{}", JSON, 422, "invalid-spec"),
        (b'{"spec": null}', JSON, 422, "invalid-spec"),
        (b"{}", {"content-type": "text/plain"}, 415, "unsupported-media-type"),
        (b"{}", {"content-type": "application/x-www-form-urlencoded"}, 415, "unsupported-media-type"),
        (b" " * (1 << 20) + b"{}", JSON, 413, "too-large"),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused(api: Api, content: bytes, headers: dict[str, str], status: int, problem: str) -> None:
    await api.project()
    refused = await _put(api, content, headers)
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (status, problem)
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["status"] == status
    assert (await api.get(PATH)).status_code == 404


async def test_text_that_no_column_can_hold_is_refused(api: Api) -> None:
    await api.project()
    refused = await api.put(PATH, endpoint_spec(labels={"a": "x\0y"}))
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/spec/labels/a")


@pytest.mark.parametrize(
    ("method", "path", "pointer"),
    [("GET", f"{PATH}/replicas/%00/log", "/replica_id"), ("DELETE", "/v1/projects/acme/tokens/app/credentials/a%00b", "/credential_id")],
)
async def test_an_id_that_no_column_can_hold_is_refused(api: Api, method: str, path: str, pointer: str) -> None:
    await api.project()
    await api.must_put("/projects/acme/endpoints/chat", endpoint_spec())
    await api.must_put("/projects/acme/tokens/app", {"roles": ["inference.invoker"]})
    refused = await api.call(method, path)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_an_unknown_path_and_method_are_problems(api: Api) -> None:
    unknown = await api.get("/nothing/here")
    assert (unknown.status_code, unknown.json()["type"].rpartition("/")[2]) == (404, "not-found")
    wrong = await api.call("PATCH", "/projects/acme")
    assert (wrong.status_code, wrong.json()["type"].rpartition("/")[2]) == (405, "method-not-allowed")
    assert {"GET", "PUT", "DELETE"} <= set(wrong.headers["allow"].split(", "))


async def test_options_names_every_method_of_a_path(api: Api) -> None:
    answer = await api.as_("").call("OPTIONS", "/projects/acme/endpoints/chat")
    assert (answer.status_code, answer.headers["allow"]) == (204, "DELETE, GET, OPTIONS, PUT")


async def test_every_answer_has_an_id_of_its_own(api: Api) -> None:
    ids = [(await api.get("/region")).headers["x-request-id"] for _ in range(2)]
    assert ids[0] != ids[1]
    unknown = await api.get("/nothing")
    assert unknown.json()["instance"]


async def test_a_database_that_is_away_is_told_with_a_time_to_wait(api: Api) -> None:
    engine = database.current()
    pool, engine.pool = engine.pool, None
    try:
        refused = await api.get("/projects")
        ready = await api.client.get("/readyz")
        alive = await api.client.get("/healthz")
    finally:
        engine.pool = pool
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (503, "unavailable")
    assert int(refused.headers["retry-after"]) > 0
    assert (ready.status_code, alive.status_code) == (503, 200)
    assert (await api.client.get("/readyz")).json() == {"status": "ok"}


async def test_a_bug_says_nothing_of_itself(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("the secret of the database")

    monkeypatch.setattr("fleetform.routes.projects.projects.page", fail)
    failed = await api.get("/projects")
    assert (failed.status_code, failed.json()["type"].rpartition("/")[2]) == (500, "internal")
    assert "secret" not in failed.text
    assert failed.json()["instance"] == failed.headers["x-request-id"]


async def test_the_region_says_where_models_are_served(api: Api) -> None:
    assert (await api.get("/region")).json() == {"name": "local", "gateway_url": "http://127.0.0.1:7080/v1", "version": "0.1.0"}


async def test_the_document_needs_no_key(api: Api) -> None:
    for path in ("/schema", "/schema/openapi.json"):
        served = await api.client.get(path)
        assert served.status_code == 200
        assert served.json()["openapi"] == "3.1.0"


async def test_metrics_are_an_application_of_their_own(api: Api) -> None:
    await api.get("/region")
    assert (await api.client.get("/metrics")).status_code == 404
    metrics: Any = create_metrics_app(api.app, api.deps)
    transport = httpx2.ASGITransport(app=metrics)
    async with httpx2.AsyncClient(transport=transport, base_url="http://metrics.test") as client:
        text = (await client.get("/metrics")).text
    assert 'fleetform_api_requests_total{method="GET",route="/v1/region",status="200"} 1.0' in text
