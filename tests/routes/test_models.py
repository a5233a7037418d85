"""Model versions over the control API: registered once, below the project's prefixes, and remembered by their digest."""

import pytest

from fleetform.domain.access import Role
from fleetform.domain.conditions import Reason
from fleetform.domain.rollout import RolloutState, Track
from fleetform.store import database, models
from tests.builders import CPU_SHAPE, a_manifest
from tests.control_api import VERSION, Api, endpoint_spec

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
PATH = "/projects/acme/model-versions/m/v1"


@pytest.fixture
async def acme(api: Api) -> Api:
    await api.project()
    return api


async def _verify(api: Api, digest: str = "d1") -> None:
    uid = (await api.get(PATH)).json()["metadata"]["uid"]
    async with database.transaction():
        await models.set_verified(uid, a_manifest(digest), api.clock())


async def test_it_begins_unverified_and_ends_verified(acme: Api) -> None:
    registered = (await acme.get(PATH)).json()
    (condition,) = registered["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Verified", False, "Verifying")
    assert (registered["status"]["ref"], registered["status"]["digest"]) == ("m:v1", "")
    await _verify(acme)
    answer = await acme.get(PATH)
    (condition,) = answer.json()["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == (True, "Verified")
    assert (answer.json()["status"]["digest"], answer.json()["status"]["size_bytes"]) == ("d1", 1_000_000)
    assert answer.headers["etag"] == '"1-2"'


async def test_a_frozen_manifest_stays(acme: Api) -> None:
    await _verify(acme)
    await _verify(acme, "d2")
    assert (await acme.get(PATH)).json()["status"]["digest"] == "d1"


async def test_the_same_again_is_the_same_and_another_is_immutable(acme: Api) -> None:
    again = await acme.put(PATH, VERSION)
    assert (again.status_code, again.json()["metadata"]["generation"]) == (200, 1)
    refused = await acme.put(PATH, VERSION | {"runtime": "cuda12.6", "task": "embed"})
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "immutable")
    assert refused.json()["fields"] == ["runtime", "task"]


async def test_a_tombstone_lets_only_its_digest_back(acme: Api) -> None:
    await _verify(acme)
    first = (await acme.get(PATH)).json()["metadata"]["uid"]
    for _ in range(2):
        assert (await acme.delete(PATH)).status_code == 204
        assert (await acme.get(PATH)).status_code == 404
        assert (await acme.delete(PATH)).status_code == 404
        refused = await acme.put(PATH, VERSION | {"sha256": "0" * 64})
        assert (refused.status_code, refused.json()["fields"]) == (409, ["sha256"])
        back = await acme.put(PATH, VERSION)
        assert back.status_code == 201
        assert back.json()["metadata"]["uid"] != first
    await _verify(acme, "d2")
    (condition,) = (await acme.get(PATH)).json()["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == (False, "DigestMismatch")


async def test_a_refused_version_cannot_be_served(acme: Api) -> None:
    uid = (await acme.get(PATH)).json()["metadata"]["uid"]
    async with database.transaction():
        await models.set_refused(uid, Reason.PICKLE_REFUSED, "weights.bin is a pickle", acme.clock())
    refused = await acme.put("/projects/acme/endpoints/chat", endpoint_spec())
    (error,) = refused.json()["errors"]
    assert (refused.status_code, error["pointer"], error["code"]) == (422, "/spec/variants/v1/model_version", "not_verified")
    assert "pickle" in error["detail"]


@pytest.mark.parametrize(
    "artifact",
    [
        "file:///etc/passwd",
        "file:///models",
        "file:///modelsX/m",
        "s3://models/m",
        "file:///models/../etc",
        "file:///models/%2e%2e/etc",
        "file:///models/./m",
        "http://models/m",
        "file://models/m",
    ],
)
async def test_an_artifact_outside_the_prefixes_is_refused(acme: Api, artifact: str) -> None:
    refused = await acme.put("/projects/acme/model-versions/m/v9", VERSION | {"artifact": artifact})
    assert (refused.status_code, [e["pointer"] for e in refused.json()["errors"]]) == (422, ["/spec/artifact"])
    assert (await acme.get("/projects/acme/model-versions/m/v9")).status_code == 404


async def test_an_engine_must_be_declared(acme: Api) -> None:
    refused = await acme.put("/projects/acme/model-versions/m/v9", VERSION | {"engine": "stub"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/spec/engine")
    await acme.must_put("/engines/stub", {"argv": ["/bin/stub", "{socket}"]})
    await acme.must_put("/projects/acme/model-versions/m/v9", VERSION | {"engine": "stub"})
    unknown = await acme.put("/projects/acme/model-versions/m/v10", VERSION | {"engine": "stub", "engine_version": "1.0"})
    assert unknown.status_code == 422
    assert [(e["pointer"], e["code"]) for e in unknown.json()["errors"]] == [("/spec/engine_version", "unsupported")]
    held = await acme.delete("/engines/stub")
    assert (held.status_code, held.json()["references"]) == (409, ["projects/acme/model-versions/m/v9"])
    args = {"v9": {"model_version": "m:v9", "engine_args": {"x": "1"}}}
    refused = await acme.put("/projects/acme/endpoints/chat", {"instance_type": "cpu-small", "variants": args})
    assert refused.json()["errors"][0]["pointer"] == "/spec/variants/v9/engine_args/x"


async def test_remote_code_is_the_region_administrators(acme: Api) -> None:
    wish = VERSION | {"allow_remote_code": True}
    admin = acme.as_(await acme.key_for("acme", Role.ADMIN))
    assert (await admin.put("/projects/acme/model-versions/m/v9", wish)).status_code == 403
    assert (await acme.put("/projects/acme/model-versions/m/v9", wish)).status_code == 201


async def test_a_version_goes_once_no_traffic_reaches_it_also_from_a_bake(acme: Api) -> None:
    await acme.must_put("/projects/acme/model-versions/m/v2", VERSION)
    endpoint = await acme.must_put("/projects/acme/endpoints/chat", endpoint_spec())
    await _serve(endpoint["metadata"]["uid"], "v1")
    await acme.must_put("/projects/acme/endpoints/chat", endpoint_spec("v2"))
    refused = await acme.delete(PATH)
    assert (refused.status_code, refused.json()["references"]) == (409, ["endpoint/chat"])
    await _serve(endpoint["metadata"]["uid"], "v2")
    assert (await acme.delete(PATH)).status_code == 204


async def _serve(uid: str, version: str) -> None:
    """Pretend that the reconciler routes all traffic to version, with a track of each version still known."""
    tracks = {f"{name}.0": a_track(f"{name}.0", name) for name in ("v1", "v2")}
    split = {f"{version}.0": 100}
    state = RolloutState(generation=1, new=split, in_force=split, settled=True, tracks=tracks)
    await database.rows("UPDATE endpoint SET rollout = {}::jsonb WHERE uid = {}::uuid", database.encode(state), uid)


def a_track(track_id: str, version: str) -> Track:
    return Track(
        track_id=track_id,
        variant=version,
        model_version=f"m:{version}",
        artifact="file:///models/m",
        manifest=a_manifest(),
        engine="vllm",
        instance_type="cpu-small",
        shape=CPU_SHAPE,
    )
