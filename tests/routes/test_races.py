"""Many callers at once: one wish wins whole, a quota is never overbooked, nobody sees an internal error."""

import asyncio

import pytest

from tests.control_api import Api, endpoint_spec

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.timeout(180)]
PATH = "/projects/acme/endpoints/chat"


async def test_a_quota_is_not_lowered_under_those_who_book(api: Api) -> None:
    await api.project("acme", 20)
    booking = (api.put(f"/projects/acme/endpoints/e{n}", endpoint_spec()) for n in range(20))
    lowering = (api.put("/projects/acme/quotas/cpu-small", {"max_replicas": n}) for n in range(10))
    await asyncio.gather(*booking, *lowering)
    quota = (await api.get("/projects/acme/quotas/cpu-small")).json()
    assert quota["status"]["used"] <= quota["spec"]["max_replicas"]


async def test_a_version_and_its_endpoint_are_not_crossed(api: Api) -> None:
    await api.project("acme", 100, *(f"v{n}" for n in range(20)))
    wishes = (api.put(f"/projects/acme/endpoints/e{n}", endpoint_spec(f"v{n}")) for n in range(20))
    deletions = (api.delete(f"/projects/acme/model-versions/m/v{n}") for n in range(20))
    answers = await asyncio.gather(*wishes, *deletions)
    for wish, deletion in zip(answers[:20], answers[20:], strict=True):
        assert (wish.status_code, deletion.status_code) in {(201, 409), (422, 204)}


async def test_mints_and_a_narrowing_leave_no_key_that_is_too_wide(api: Api) -> None:
    await api.project()
    wide, narrow = {"roles": ["inference.admin"]}, {"roles": ["inference.viewer"]}
    await api.must_put("/projects/acme/tokens/app", wide)
    mints = (api.call("POST", "/projects/acme/tokens/app/credentials", {}) for _ in range(20))
    *minted, narrowed = await asyncio.gather(*mints, api.put("/projects/acme/tokens/app", narrow))
    assert narrowed.status_code == 200
    for answer in minted:
        claims = api.deps.key.verify(answer.json()["secret"], "local", api.clock())
        alive = (await api.as_(answer.json()["secret"]).get("/region")).status_code == 200
        assert alive == (claims.roles == ("inference.viewer",))
