"""Endpoints over the control API: written, unchanged, refused, torn down."""

import pytest

from fleetform.store import database
from tests.control_api import Api, endpoint_spec

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
PATH = "/projects/acme/endpoints/chat"


@pytest.fixture
async def acme(api: Api) -> Api:
    await api.project("acme", 10, "v1", "v2")
    return api


async def test_put_stores_the_spec_as_it_was_sent(acme: Api) -> None:
    spec = endpoint_spec(scaling={"min_replicas": 2}, labels={"team": "a"})
    answer = await acme.put(PATH, spec)
    assert answer.status_code == 201
    assert answer.headers["etag"] == '"1-1"'
    body = answer.json()
    assert body["spec"] == spec
    assert (body["metadata"]["name"], body["metadata"]["project"], body["metadata"]["generation"]) == ("chat", "acme", 1)
    assert body["status"]["effective"]["max_replicas"] == 2
    assert (body["status"]["model"], body["status"]["url"]) == ("chat", "http://127.0.0.1:7080/v1")
    assert (await acme.get(PATH)).json() == body


async def test_the_same_spec_again_changes_nothing(acme: Api) -> None:
    first = await acme.put(PATH, endpoint_spec())
    again = await acme.put(PATH, endpoint_spec())
    assert again.status_code == 200
    assert again.json() == first.json()
    assert again.headers["etag"] == first.headers["etag"]
    assert len((await acme.get(f"{PATH}/events")).json()["items"]) == 1


async def test_another_spec_is_the_next_generation(acme: Api) -> None:
    first = await acme.must_put(PATH, endpoint_spec())
    second = await acme.put(PATH, endpoint_spec("v2"))
    assert second.status_code == 200
    assert second.json()["metadata"] == {**first["metadata"], "generation": 2}
    assert second.headers["etag"] == '"2-2"'
    reasons = [(e["reason"], e["generation"]) for e in (await acme.get(f"{PATH}/events")).json()["items"]]
    assert reasons == [("Updated", 2), ("Created", 1)]


async def test_delete_tears_down_and_says_the_same_again(acme: Api) -> None:
    await acme.must_put(PATH, endpoint_spec())
    first, again = await acme.delete(PATH), await acme.delete(PATH)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["status"]["phase"] == "Deleting"
    assert first.json() == again.json()
    assert (await acme.get(PATH)).status_code == 200
    refused = await acme.put(PATH, endpoint_spec())
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "in-use")


async def test_a_protected_endpoint_is_not_deleted(acme: Api) -> None:
    await acme.must_put(PATH, endpoint_spec(deletion_protection=True))
    refused = await acme.delete(PATH)
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "protected")
    await acme.must_put(PATH, endpoint_spec(deletion_protection=False))
    assert (await acme.delete(PATH)).status_code == 202


async def test_every_wrong_field_is_named_at_once(acme: Api) -> None:
    spec = {
        "instance_type": 7,
        "variants": {"v1": {"model_version": "m:v1", "weight": 101}},
        "scaling": {"max_replicas": "many"},
        "colour": "red",
    }
    refused = await acme.put(PATH, spec)
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["type"].endswith("invalid-spec")
    assert problem["instance"] == refused.headers["x-request-id"]
    pointers = {error["pointer"] for error in problem["errors"]}
    assert pointers == {"/spec/instance_type", "/spec/variants/v1/weight", "/spec/scaling/max_replicas", "/spec/colour"}
    assert (await acme.get(PATH)).status_code == 404


async def test_every_wrong_reference_is_named_at_once(acme: Api) -> None:
    spec = {
        "instance_type": "none",
        "variants": {
            "a": {"model_version": "m:v9", "weight": 50},
            "b": {"model_version": "m:v1", "weight": 50, "engine_args": {"load_format": "pt"}},
        },
    }
    refused = await acme.put(PATH, spec)
    assert refused.status_code == 422
    found = {(error["pointer"], error["code"]) for error in refused.json()["errors"]}
    assert found == {
        ("/spec/instance_type", "not_found"),
        ("/spec/variants/a/model_version", "not_found"),
        ("/spec/variants/b/engine_args/load_format", "unknown_engine_arg"),
    }


@pytest.mark.parametrize(
    ("field", "value", "pointer"),
    [
        ("type", "batch", "/spec/type"),
        ("type", "serverless-async", "/spec/type"),
        ("mode", "shared", "/spec/mode"),
        ("logging", {"content": "full"}, "/spec/logging/content"),
    ],
)
async def test_what_comes_later_is_refused_as_unsupported(acme: Api, field: str, value: object, pointer: str) -> None:
    refused = await acme.put(PATH, endpoint_spec() | {field: value})
    assert refused.status_code == 422
    assert (pointer, "unsupported") in {(error["pointer"], error["code"]) for error in refused.json()["errors"]}


@pytest.mark.parametrize(
    ("field", "value", "pointer", "words"),
    [
        (
            "scaling",
            {"schedule": {"day": {"cron": "9", "duration_s": 60, "min_replicas": 1}}},
            "/spec/scaling/schedule/day/cron",
            "five fields",
        ),
        ("mode", "serverless", "/spec/scaling/min_replicas", "mode 'dedicated'"),
        ("type", "streaming", "/spec/scaling/min_replicas", "never goes to zero"),
    ],
)
async def test_what_scaling_cannot_do_is_said_with_its_place(acme: Api, field: str, value: object, pointer: str, words: str) -> None:
    least = {"serverless": 1, "streaming": 0}.get(str(value), 1)
    refused = await acme.put(PATH, endpoint_spec(scaling={"min_replicas": least}) | {field: value})
    assert refused.status_code == 422
    assert any(error["pointer"] == pointer and words in error["detail"] for error in refused.json()["errors"])


async def test_a_serverless_endpoint_books_nothing(acme: Api) -> None:
    await acme.must_put(PATH, endpoint_spec(scaling={"idle_s": 60}) | {"mode": "serverless"})
    quota = (await acme.get("/projects/acme/quotas/cpu-small")).json()
    assert quota["status"]["used"] == 0


async def test_a_quota_that_is_too_small_names_what_is_free_and_who_holds_it(acme: Api) -> None:
    await acme.must_put("/projects/acme/endpoints/first", endpoint_spec(scaling={"min_replicas": 7}))
    refused = await acme.put(PATH, endpoint_spec(scaling={"min_replicas": 4}))
    assert refused.status_code == 409
    problem = refused.json()
    assert problem["type"].endswith("quota-exceeded")
    assert (problem["free"], problem["holders"]) == (3, [{"endpoint": "first", "replicas": 7}])
    assert (await acme.put(PATH, endpoint_spec(scaling={"min_replicas": 3}))).status_code == 201


async def test_no_quota_is_a_quota_of_nothing(acme: Api) -> None:
    await acme.must_put("/instance-types/big", {"cpu_millis": 1000, "memory_mib": 1000})
    refused = await acme.put(PATH, endpoint_spec() | {"instance_type": "big"})
    assert refused.status_code == 409
    assert refused.json()["free"] == 0
    assert "holders" not in refused.json()


async def test_what_runs_counts_beyond_what_is_booked(acme: Api) -> None:
    endpoint = await acme.must_put(PATH, endpoint_spec())
    for number in range(9):
        await database.rows(
            "INSERT INTO reservation VALUES ({}, {}::uuid, 'acme', 'cpu-small', 'h', 1, 1)", f"r{number}", endpoint["metadata"]["uid"]
        )
    quota = (await acme.get("/projects/acme/quotas/cpu-small")).json()
    assert quota["status"] == {"used": 9, "free": 1, "holders": [{"endpoint": "chat", "replicas": 9}]}
    refused = await acme.put("/projects/acme/endpoints/second", endpoint_spec(scaling={"min_replicas": 2}))
    assert (refused.status_code, refused.json()["free"]) == (409, 1)
    assert (await acme.put(PATH, endpoint_spec(scaling={"min_replicas": 9}))).status_code == 200


@pytest.mark.parametrize("name", ["..%2Fetc", "%2e%2e%2f%2e%2e", "UPPER", "a_b", "a--b", "a" * 64, "%00", "-a"])
async def test_a_bad_name_is_told_with_its_pointer(acme: Api, name: str) -> None:
    for method in ("PUT", "GET", "DELETE"):
        refused = await acme.call(method, f"/projects/acme/endpoints/{name}", {"spec": endpoint_spec()} if method == "PUT" else None)
        assert refused.status_code == 422, refused.text
        assert [error["pointer"] for error in refused.json()["errors"]] == ["/name"]


async def test_a_bad_name_is_shown_as_it_was_meant(acme: Api) -> None:
    refused = await acme.get("/projects/acme/endpoints/..%2Fetc")
    assert refused.json()["errors"][0]["detail"].startswith("'../etc' is not a name")


async def test_if_match_holds_while_the_generation_is_current(acme: Api) -> None:
    await acme.must_put(PATH, endpoint_spec())
    assert (await acme.put(PATH, endpoint_spec("v2"), if_match='"1-77"')).status_code == 200
    stale = await acme.put(PATH, endpoint_spec(), if_match='"1-1"')
    assert (stale.status_code, stale.json()["type"].rpartition("/")[2]) == (412, "stale")
    assert (await acme.put(PATH, endpoint_spec(), if_match='W/"2-2"')).status_code == 412
    assert (await acme.delete(PATH, if_match='"1-1"')).status_code == 412
    assert (await acme.delete(PATH, if_match='"9-9", "2-1"')).status_code == 202


async def test_create_only_and_update_only(acme: Api) -> None:
    assert (await acme.put(PATH, endpoint_spec(), if_match="*")).status_code == 412
    assert (await acme.put(PATH, endpoint_spec(), if_none_match="*")).status_code == 201
    there = await acme.put(PATH, endpoint_spec(), if_none_match="*")
    assert (there.status_code, there.json()["detail"].partition(",")[0]) == (412, "the resource exists already")
    assert (await acme.put(PATH, endpoint_spec(), if_match="*")).status_code == 200


async def test_lists_page_by_name(acme: Api) -> None:
    names = [f"e{number}" for number in range(5)]
    for name in names:
        await acme.must_put(f"/projects/acme/endpoints/{name}", endpoint_spec())
    seen, cursor = [], ""
    for _ in range(3):
        page = (await acme.get(f"/projects/acme/endpoints?limit=2{cursor}")).json()
        seen += [item["metadata"]["name"] for item in page["items"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert (seen, page["next_cursor"]) == (names, None)
    assert len((await acme.get("/projects/acme/endpoints?limit=100000")).json()["items"]) == 5


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "cursor=nonsense", "cursor=WyIiXQ.."])
async def test_a_wrong_query_parameter_is_named(acme: Api, query: str) -> None:
    refused = await acme.get(f"/projects/acme/endpoints?{query}")
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == f"/{query.partition('=')[0]}"


async def test_a_version_that_is_named_or_serves_cannot_be_deleted(acme: Api) -> None:
    await acme.must_put(PATH, endpoint_spec("v1"))
    refused = await acme.delete("/projects/acme/model-versions/m/v1")
    assert (refused.status_code, refused.json()["references"]) == (409, ["endpoint/chat"])
    await acme.must_put(PATH, endpoint_spec("v2"))
    assert (await acme.delete("/projects/acme/model-versions/m/v1")).status_code == 204


async def test_what_is_in_use_cannot_be_deleted(acme: Api) -> None:
    await acme.must_put(PATH, endpoint_spec())
    for path, references in {
        "/instance-types/cpu-small": ["projects/acme/endpoints/chat", "projects/acme/quotas/cpu-small"],
        "/projects/acme/quotas/cpu-small": ["endpoint/chat"],
        "/projects/acme": ["endpoint/chat", "model-version/m/v1", "model-version/m/v2", "quota/cpu-small"],
    }.items():
        refused = await acme.delete(path)
        assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "in-use")
        assert refused.json()["references"] == references
