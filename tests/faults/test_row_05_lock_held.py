"""Row 5: somebody holds a row's lock: a bounded wait, then 503 with Retry-After; and no update is lost."""

import asyncio
import time
from collections.abc import Iterator

import asyncpg
import pytest

from fleetform.host import postgres
from tests.faults.two_servers import client, declare, spec
from tests.harness.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.timeout(120)]
LOCK_WAIT_S = 5.0
SLACK_S = 4.0


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.mark.parametrize("table", ["endpoint", "quota"])
async def test_row_05_a_held_lock_is_waited_for_and_then_told(server: Server, table: str) -> None:
    async with client(server.base_url, server.token) as http:
        await declare(http, quota=10)
        assert (await http.put("/endpoints/chat", json={"spec": spec()})).status_code == 201
        other = await asyncpg.connect(postgres.url(server.settings))
        try:
            async with other.transaction():
                await other.execute(f"SELECT * FROM {table} FOR UPDATE")
                begun = time.monotonic()
                wanted = spec(scaling={"min_replicas": 2})
                answers = await asyncio.gather(*(http.put("/endpoints/chat", json={"spec": wanted}) for _ in range(3)))
                spent_s = time.monotonic() - begun
                assert {(answer.status_code, answer.json()["type"].rpartition("/")[2]) for answer in answers} == {(503, "unavailable")}
                assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
                assert LOCK_WAIT_S - 1 <= spent_s <= LOCK_WAIT_S * 2 + SLACK_S, "each waits for the lock, or for whoever waits for it"
                assert (await http.get("/endpoints/chat")).json()["metadata"]["generation"] == 1, "reading goes on"
        finally:
            await other.close()
        assert (await http.put("/endpoints/chat", json={"spec": wanted})).status_code == 200


async def test_row_05_whoever_waits_shortly_loses_no_update(server: Server) -> None:
    async with client(server.base_url, server.token) as http:
        await declare(http, quota=10)
        assert (await http.put("/endpoints/chat", json={"spec": spec()})).status_code == 201
        other = await asyncpg.connect(postgres.url(server.settings))
        try:
            async with other.transaction():
                await other.execute("SELECT * FROM endpoint FOR UPDATE")
                writes = [asyncio.create_task(http.put("/endpoints/chat", json={"spec": spec(labels={"n": str(n)})})) for n in range(4)]
                await asyncio.sleep(0.5)
        finally:
            await other.close()
        assert {(await write).status_code for write in writes} == {200}
        assert (await http.get("/endpoints/chat")).json()["metadata"]["generation"] == 5
