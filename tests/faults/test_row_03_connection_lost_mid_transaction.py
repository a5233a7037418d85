"""Row 3: a connection is lost in the middle of a transaction, or the database is gone or says nothing: 503 with Retry-After, and nothing
is half done.
"""

import asyncio
import time
from collections.abc import Iterator

import asyncpg
import httpx2
import pytest

from fleetform.host import postgres
from tests.e2e.shop import PROJECT, Shop
from tests.faults.postgres_proxy import Between
from tests.faults.two_servers import client, declare, spec
from tests.harness.load import SteadyLoad, nothing_lost
from tests.harness.server import Server
from tests.harness.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.timeout(240)]
BLOCKED = "SELECT pid FROM pg_stat_activity WHERE application_name = 'fleetform' AND wait_event_type = 'Lock'"
TOLD_WITHIN_S = 25.0
"""A statement is given up after 15 s; the machine may have other things to do."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def between() -> Iterator[Between]:
    with Between() as running:
        yield running


def assert_told(answer: httpx2.Response) -> None:
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (503, "unavailable"), answer.text
    assert int(answer.headers["retry-after"]) > 0


async def test_row_03_a_transaction_that_loses_its_connection_leaves_nothing(server: Server) -> None:
    async with client(server.base_url, server.token) as http:
        await declare(http, quota=10)
        assert (await http.put("/endpoints/chat", json={"spec": spec()})).status_code == 201
        other = await asyncpg.connect(postgres.url(server.settings))
        try:
            # The PUT has locked its endpoint and waits for the quota when its connection is ended.
            async with other.transaction():
                await other.execute("SELECT * FROM quota FOR UPDATE")
                writing = asyncio.create_task(http.put("/endpoints/chat", json={"spec": spec(scaling={"min_replicas": 3})}))
                async with asyncio.timeout(20):
                    while not (blocked := await other.fetch(BLOCKED)):
                        await asyncio.sleep(0.01)
                for row in blocked:
                    await other.execute("SELECT pg_terminate_backend($1)", row["pid"])
                assert_told(await writing)
        finally:
            await other.close()
        found = (await http.get("/endpoints/chat")).json()
        assert (found["metadata"]["generation"], found["spec"]) == (1, spec())
        events = (await http.get("/endpoints/chat/events")).json()["items"]
        assert [event for event in events if event["reason"] == "Updated"] == []
        assert (await http.get("/quotas/cpu-small")).json()["status"]["used"] == 1
        assert (await http.put("/endpoints/chat", json={"spec": spec(scaling={"min_replicas": 3})})).status_code == 200


async def test_row_03_whatever_connection_is_lost_what_was_acknowledged_is_there(server: Server) -> None:
    acknowledged, refused = 1, 0
    async with client(server.base_url, server.token) as http:
        await declare(http, quota=10)
        assert (await http.put("/endpoints/chat", json={"spec": spec(labels={"n": "1"})})).status_code == 201
        admin = await asyncpg.connect(postgres.url(server.settings))
        try:
            for number in range(2, 30):
                writing = asyncio.create_task(http.put("/endpoints/chat", json={"spec": spec(labels={"n": str(number)})}))
                await asyncio.sleep(number % 7 * 0.002)
                await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
                answer = await writing
                if answer.status_code == 200:
                    acknowledged = number
                else:
                    assert answer.status_code == 503, server.log()
                    assert_told(answer)
                    refused += 1
                found = until_read(await _insist(http))
                # A write whose COMMIT was done and not answered counts too; an acknowledged one is never lost.
                assert int(found["spec"]["labels"]["n"]) in (acknowledged, number)
                acknowledged = int(found["spec"]["labels"]["n"])
        finally:
            await admin.close()
    assert refused, "no connection was lost at a moment that mattered"


@pytest.mark.parametrize("silent_s", [5, pytest.param(30, marks=pytest.mark.faults)])
async def test_row_03_a_link_that_lets_nothing_through_is_told_in_time_and_waited_out(between: Between, silent_s: int) -> None:
    """No connection ends: whoever waits for the database must give up by its own clock."""
    async with client(between.base_url, between.token) as http:
        await declare(http, quota=10)
        assert (await http.put("/endpoints/chat", json={"spec": spec(labels={"n": "0"})})).status_code == 201
        await http.get("/endpoints/chat", params={"wait_for": "ready", "timeout_s": 30})
        between.proxy.flows.clear()
        number, silent_at = 0, time.monotonic()
        while time.monotonic() - silent_at < silent_s:
            number, begun = number + 1, time.monotonic()
            assert_told(await http.put("/endpoints/chat", json={"spec": spec(labels={"n": str(number)})}))
            assert time.monotonic() - begun < TOLD_WITHIN_S
        between.proxy.flows.set()
        # What was held may still be done, whole; nothing else is there.
        assert int(until_read(await _insist(http))["spec"]["labels"]["n"]) in range(number + 1)
        assert (await http.get("/quotas/cpu-small")).json()["status"]["used"] == 1
        wanted = spec(scaling={"min_replicas": 2})
        await _insist_on(http, wanted)
        ready = await http.get("/endpoints/chat", params={"wait_for": "ready", "timeout_s": 60})
        assert ready.json()["status"]["ready"], f"{ready.text}\n{between.log()}"
        assert ready.json()["status"]["replicas"]["ready"] == 2
        assert ready.json()["spec"] == wanted


def until_read(answer: httpx2.Response) -> dict[str, dict[str, dict[str, str]]]:
    found: dict[str, dict[str, dict[str, str]]] = answer.json()
    return found


async def _insist(http: httpx2.AsyncClient) -> httpx2.Response:
    async with asyncio.timeout(30):
        while (answer := await http.get("/endpoints/chat")).status_code != 200:
            assert_told(answer)
            await asyncio.sleep(0.05)
    return answer


async def _insist_on(http: httpx2.AsyncClient, wanted: dict[str, object]) -> None:
    async with asyncio.timeout(30):
        while (answer := await http.put("/endpoints/chat", json={"spec": wanted})).status_code != 200:
            assert_told(answer)
            await asyncio.sleep(0.05)


@pytest.mark.envoy
def test_row_03_traffic_goes_on_while_the_database_is_gone(shop: Shop) -> None:
    shop.create("row03", "v1")
    environment = shop.stack.environment
    url = f"{environment['FLEETFORM_BASE_URL']}/v1/projects/{PROJECT}/endpoints/row03"
    headers = {"authorization": f"Bearer {environment['FLEETFORM_TOKEN']}"}
    with SteadyLoad(environment["OPENAI_BASE_URL"], shop.key, "row03", rate=20, long_streams=2) as load, nothing_lost(load):
        load.answer_at_least(10)
        shop.stack.kill("postgres -D")
        answer = httpx2.get(url, headers=headers, timeout=30)
        if answer.status_code != 200:  # it may be back already
            assert_told(answer)
        load.answer_at_least(20)
        until("the database is back", lambda: httpx2.get(url, headers=headers, timeout=30).status_code == 200, timeout_s=60)
        shop.update("row03", "--traffic-split", "v2=100")
        load.answer_at_least(10)
    assert load.lost == []
    shop.delete("row03")
