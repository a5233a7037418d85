"""Many callers at once: one wish wins whole, a quota is never overbooked, nobody sees an internal error."""

import asyncio
from collections import Counter

import pytest

from tests.control_api import Api, endpoint_spec

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.timeout(180)]
PATH = "/projects/acme/endpoints/chat"


async def test_fifty_conflicting_writers_leave_one_whole_wish(api: Api) -> None:
    await api.project("acme", 100)
    specs = [endpoint_spec(labels={"writer": str(n)}, scaling={"min_replicas": n + 1}) for n in range(50)]
    answers = await asyncio.gather(*(api.put(PATH, spec) for spec in specs))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 49}
    assert sorted(answer.json()["metadata"]["generation"] for answer in answers) == list(range(1, 51))
    left = (await api.get(PATH)).json()
    assert left["spec"] in specs
    assert left["status"]["effective"]["min_replicas"] == left["spec"]["scaling"]["min_replicas"]
    assert left["metadata"]["generation"] == 50


async def test_of_fifty_writers_who_name_the_generation_one_wins(api: Api) -> None:
    await api.project("acme", 100)
    await api.must_put(PATH, endpoint_spec())
    specs = [endpoint_spec(labels={"writer": str(n)}) for n in range(50)]
    answers = await asyncio.gather(*(api.put(PATH, spec, if_match='"1-1"') for spec in specs))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 412: 49}
    (won,) = (answer.json()["spec"] for answer in answers if answer.status_code == 200)
    assert (await api.get(PATH)).json()["spec"] == won


async def test_two_hundred_creations_never_overbook(api: Api) -> None:
    await api.project("acme", 37)
    answers = await asyncio.gather(*(api.put(f"/projects/acme/endpoints/e{n}", endpoint_spec()) for n in range(200)))
    assert Counter(answer.status_code for answer in answers) == {201: 37, 409: 163}
    assert all(answer.json()["free"] == 0 for answer in answers if answer.status_code == 409)
    quota = (await api.get("/projects/acme/quotas/cpu-small")).json()
    assert (quota["status"]["used"], quota["status"]["free"]) == (37, 0)


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
