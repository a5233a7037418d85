"""`wait_for`: answered when it holds, woken by the store's notifications, never by looking again and again."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from fleetform.domain.conditions import Condition, ConditionType, Reason
from fleetform.domain.endpoint import EndpointStatus
from fleetform.store import changes, database, endpoints
from tests.control_api import Api, endpoint_spec

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
PATH = "/projects/acme/endpoints/chat"


@pytest.fixture
async def acme(api: Api, store: str) -> AsyncIterator[Api]:
    """The API with a listener, and one endpoint."""
    await api.project("acme", 10, "v1", "v2")
    await api.must_put(PATH, endpoint_spec())
    task = asyncio.create_task(database.listen(store, api.deps.waker.told))
    yield api
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _write(api: Api, status: EndpointStatus) -> None:
    uid = (await api.get(PATH)).json()["metadata"]["uid"]
    async with database.transaction():
        await database.rows(
            "UPDATE endpoint SET status = {}::jsonb, revision = revision + 1 WHERE uid = {}::uuid", database.encode(status), uid
        )
        await changes.status(uid)


async def _waiting(api: Api) -> None:
    """Return once a request waits."""
    async with asyncio.timeout(10):
        while not api.deps.waker.waiting:
            await asyncio.sleep(0)


async def test_ready_is_answered_when_the_status_says_so(acme: Api) -> None:
    request = asyncio.create_task(acme.get(f"{PATH}?wait_for=ready&generation=1&timeout_s=60"))
    await _waiting(acme)
    await _write(acme, EndpointStatus(observed_generation=1, phase="Starting"))
    await _write(acme, EndpointStatus(observed_generation=1, phase="Ready", ready=True))
    answer = await asyncio.wait_for(request, 10)
    assert (answer.status_code, answer.json()["status"]["ready"]) == (200, True)
    assert not acme.deps.waker.waiting


async def test_an_older_generation_is_not_ready(acme: Api) -> None:
    await _write(acme, EndpointStatus(observed_generation=1, ready=True))
    assert (await acme.get(PATH)).json()["status"]["ready"]
    await acme.must_put(PATH, endpoint_spec("v2"))
    answer = await acme.get(f"{PATH}?wait_for=ready&generation=2&timeout_s=1")
    assert (answer.status_code, answer.json()["status"]["ready"]) == (200, False)


async def test_what_cannot_come_true_is_answered_at_once(acme: Api) -> None:
    stalled = Condition(type=ConditionType.PROGRESSING, status=False, reason=Reason.STALLED, changed_at=acme.clock())
    await _write(acme, EndpointStatus(observed_generation=1, conditions=(stalled,)))
    answer = await asyncio.wait_for(acme.get(f"{PATH}?wait_for=ready&timeout_s=60"), 10)
    assert answer.json()["status"]["conditions"][0]["reason"] == "Stalled"


async def test_deleted_is_answered_with_404(acme: Api) -> None:
    await acme.delete(PATH)
    request = asyncio.create_task(acme.get(f"{PATH}?wait_for=deleted&timeout_s=60"))
    await _waiting(acme)
    uid = await endpoints.uid_of("acme", "chat")
    async with database.transaction():
        await endpoints.bury(uid, acme.clock())
    assert (await asyncio.wait_for(request, 10)).status_code == 404
    assert (await acme.put(PATH, endpoint_spec())).status_code == 201


async def test_a_missed_notification_wakes_everybody(acme: Api) -> None:
    request = asyncio.create_task(acme.get(f"{PATH}?wait_for=ready&timeout_s=60"))
    await _waiting(acme)
    await database.rows(
        "UPDATE endpoint SET status = {}::jsonb WHERE alive", database.encode(EndpointStatus(observed_generation=1, ready=True))
    )
    acme.deps.waker.told("")
    assert (await asyncio.wait_for(request, 10)).json()["status"]["ready"]


@pytest.mark.parametrize("query", ["wait_for=happy", "timeout_s=0", "timeout_s=61", "generation=0"])
async def test_a_wait_that_makes_no_sense_is_refused(acme: Api, query: str) -> None:
    refused = await acme.get(f"{PATH}?{query}")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, f"/{query.partition('=')[0]}")


async def test_a_server_that_ends_keeps_nobody_waiting(acme: Api) -> None:
    request = asyncio.create_task(acme.get(f"{PATH}?wait_for=ready&generation=1&timeout_s=60"))
    await _waiting(acme)
    acme.deps.waker.close()
    answer = await asyncio.wait_for(request, 10)
    assert (answer.status_code, answer.json()["status"]["ready"]) == (200, False)
    later = await asyncio.wait_for(acme.get(f"{PATH}?wait_for=deleted&timeout_s=60"), 10)
    assert later.status_code == 200
