"""Tokens and credentials: minted, narrowed, widened, revoked, and what nobody may grant."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleetform import credentials as signing
from fleetform.domain.access import Role
from fleetform.store import fleet
from tests.control_api import Api

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
TOKEN = "/projects/acme/tokens/app"


@pytest.fixture
async def acme(api: Api) -> Api:
    await api.project()
    await api.must_put(TOKEN, {"roles": ["inference.viewer", "inference.invoker"], "endpoints": ["a", "b"]})
    return api


async def _mint(api: Api, body: object = None) -> dict[str, Any]:
    answer = await api.call("POST", f"{TOKEN}/credentials", body or {})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    minted: dict[str, Any] = answer.json()
    return minted


async def test_a_credential_is_shown_once_and_works(acme: Api) -> None:
    minted = await _mint(acme, {"ttl_s": 3600})
    claims = acme.deps.key.verify(minted["secret"], "local", acme.clock())
    assert (claims.sub, claims.jti, claims.endpoints) == ("token:acme:app", minted["id"], ("a", "b"))
    assert claims.roles == ("inference.invoker", "inference.viewer")
    assert claims.exp - claims.iat == 3600
    token = await acme.get(TOKEN)
    assert [c["id"] for c in token.json()["status"]["credentials"]] == [minted["id"]]
    assert minted["secret"] not in token.text
    assert (await acme.as_(minted["secret"]).get("/projects/acme/endpoints")).status_code == 200


async def test_a_credential_lives_no_longer_than_the_token_allows(acme: Api) -> None:
    longest = await _mint(acme)
    claims = acme.deps.key.verify(longest["secret"], "local", acme.clock())
    assert claims.exp - claims.iat == 30 * 86_400
    refused = await acme.call("POST", f"{TOKEN}/credentials", {"ttl_s": 30 * 86_400 + 1})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/ttl_s")


async def test_an_expired_credential_is_refused(acme: Api) -> None:
    minted = await _mint(acme, {"ttl_s": 60})
    acme.clock.move(seconds=60)
    refused = await acme.as_(minted["secret"]).get("/region")
    assert refused.status_code == 401
    assert "expired" in refused.json()["detail"]
    assert (await acme.get(TOKEN)).json()["status"]["credentials"] == []


async def test_a_revoked_credential_is_refused_and_told_to_the_gateways(acme: Api) -> None:
    minted, other = await _mint(acme), await _mint(acme)
    path = f"{TOKEN}/credentials/{minted['id']}"
    assert (await acme.delete(path)).status_code == 204
    assert (await acme.delete(path)).status_code == 404
    refused = await acme.as_(minted["secret"]).get("/region")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert "revoked" in refused.json()["detail"]
    assert (await acme.as_(other["secret"]).get("/region")).status_code == 200
    assert set(await fleet.revoked(acme.clock())) == {minted["id"]}
    acme.clock.move(days=31)
    assert await fleet.revoked(acme.clock()) == {}


@pytest.mark.parametrize(
    "narrowed",
    [
        {"roles": ["inference.viewer"], "endpoints": ["a", "b"]},
        {"roles": ["inference.viewer", "inference.invoker"], "endpoints": ["a"]},
    ],
)
async def test_narrowing_revokes(acme: Api, narrowed: object) -> None:
    minted = await _mint(acme)
    token = await acme.must_put(TOKEN, narrowed)
    assert token["status"]["credentials"] == []
    assert (await acme.as_(minted["secret"]).get("/region")).status_code == 401


@pytest.mark.parametrize(
    "widened",
    [
        {"roles": ["inference.deployer", "inference.invoker"], "endpoints": ["a", "b"]},
        {"roles": ["inference.viewer", "inference.invoker"], "endpoints": ["a", "b", "c"]},
        {"roles": ["inference.viewer", "inference.invoker"]},
    ],
)
async def test_widening_keeps_credentials_and_says_that_they_are_behind(acme: Api, widened: object) -> None:
    minted = await _mint(acme)
    token = await acme.must_put(TOKEN, widened)
    (condition,) = token["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("CredentialsCurrent", False, "Widened")
    assert (await acme.as_(minted["secret"]).get("/region")).status_code == 200
    await _mint(acme)
    await acme.delete(f"{TOKEN}/credentials/{minted['id']}")
    (condition,) = (await acme.get(TOKEN)).json()["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == (True, "Current")


async def test_a_binding_that_is_taken_away_revokes_too(acme: Api) -> None:
    binding = "/projects/acme/role-bindings/token:acme:app"
    await acme.must_put(binding, {"roles": ["inference.deployer"]})
    minted = await _mint(acme)
    assert (await acme.as_(minted["secret"]).get("/projects/acme/model-versions")).status_code == 200
    assert (await acme.delete(binding)).status_code == 204
    assert (await acme.as_(minted["secret"]).get("/region")).status_code == 401


async def test_deleting_a_token_revokes_and_unbinds(acme: Api) -> None:
    minted = await _mint(acme)
    await acme.project("other")
    await acme.must_put("/projects/other/role-bindings/token:acme:app", {"roles": ["inference.viewer"]})
    assert (await acme.delete(TOKEN)).status_code == 204
    assert (await acme.get(TOKEN)).status_code == 404
    assert (await acme.as_(minted["secret"]).get("/region")).status_code == 401
    assert set(await fleet.revoked(acme.clock())) == {minted["id"]}
    assert (await acme.get("/projects/other/role-bindings")).json()["items"] == []


async def test_an_administrator_mints_no_key_that_can_more_than_it(acme: Api) -> None:
    system_admin = acme.as_(await acme.key_for("system", Role.ADMIN))
    refused = await system_admin.call("POST", "/projects/system/tokens/admin/credentials", {})
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (403, "forbidden")


async def test_roles_come_from_rows_and_not_from_claims(acme: Api) -> None:
    secret = await acme.key_for("acme", Role.VIEWER, name="grows")
    viewer = acme.as_(secret)
    assert (await viewer.get("/projects/acme/tokens")).status_code == 403
    await acme.must_put("/projects/acme/role-bindings/token:acme:grows", {"roles": ["inference.admin"]})
    assert (await viewer.get("/projects/acme/tokens")).status_code == 200


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ({"roles": []}, "/spec/roles"),
        ({"roles": ["inference.king"]}, "/spec/roles/0"),
        ({"roles": ["inference.viewer"] * 2}, "/spec/roles"),
        ({"roles": ["inference.viewer"], "ttl_days": 91}, "/spec/ttl_days"),
        ({"roles": ["inference.viewer"], "endpoints": ["*"]}, "/spec/endpoints/0"),
    ],
)
async def test_a_token_that_makes_no_sense_is_refused(acme: Api, spec: object, pointer: str) -> None:
    refused = await acme.put("/projects/acme/tokens/odd", spec)
    assert (refused.status_code, [e["pointer"] for e in refused.json()["errors"]]) == (422, [pointer])


async def test_a_key_of_another_region_or_of_another_signer_has_no_caller(acme: Api, tmp_path: Path) -> None:
    claims = acme.deps.key.verify((await _mint(acme))["secret"], "local", acme.clock())
    foreign = acme.deps.key.mint(msgspec.structs.replace(claims, iss="eu"))
    forged = signing.load_or_create(tmp_path / "other.pem").mint(claims)
    never_minted = acme.deps.key.mint(msgspec.structs.replace(claims, jti="0" * 16))
    for key, words in ((foreign, "region 'eu'"), (forged, "not valid"), (never_minted, "not known")):
        refused = await acme.as_(key).get("/region")
        assert refused.status_code == 401
        assert words in refused.json()["detail"]


@pytest.mark.parametrize("header", ["", "Basic YTpi", "Bearer ", "Bearer nonsense", "Bearer cd-a.b.c", "cd-x"])
async def test_without_a_key_there_is_no_caller(acme: Api, header: str) -> None:
    refused = await acme.client.get("/v1/region", headers={"authorization": header} if header else {})
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (401, "unauthenticated")
