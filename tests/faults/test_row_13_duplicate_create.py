"""Row 13: the same creation many times at once, and again after the server was killed in between, is one object."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from functools import partial

import httpx2
import pytest

from tests.faults.patience import told
from tests.faults.two_servers import client, declare, spec
from tests.harness.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.timeout(180)]
PATH = "/endpoints/chat"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


async def test_row_13_a_hundred_equal_creations_are_one(server: Server) -> None:
    async with client(server.base_url, server.token) as http:
        await declare(http, quota=10)
        answers = await asyncio.gather(*(told(partial(http.put, PATH, json={"spec": spec()})) for _ in range(100)))
        assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 99}
        assert len({answer.json()["metadata"]["uid"] for answer in answers}) == 1
        assert {answer.json()["metadata"]["generation"] for answer in answers} == {1}


async def test_row_13_another_body_for_create_only_is_refused_with_what_is_there(server: Server) -> None:
    async with client(server.base_url, server.token) as http:
        await declare(http, quota=10)
        wishes = [spec(labels={"writer": str(number)}) for number in range(20)]
        create_only = {"if-none-match": "*"}
        answers = await asyncio.gather(*(told(partial(http.put, PATH, json={"spec": wish}, headers=create_only)) for wish in wishes))
        assert Counter(answer.status_code for answer in answers) == {201: 1, 412: 19}
        (won,) = (answer.json()["spec"] for answer in answers if answer.status_code == 201)
        assert (await http.get(PATH)).json()["spec"] == won


async def test_row_13_creations_repeated_after_a_kill_make_nothing_twice(server: Server) -> None:
    async with client(server.base_url, server.token) as http:
        await declare(http, quota=100)

        async def create(name: str) -> tuple[str, str]:
            """The uid that a client was told, which must hold for ever; empty when the server died before it answered."""
            try:
                answer = await http.put(f"/endpoints/{name}", json={"spec": spec()})
            except httpx2.HTTPError:
                return name, ""
            assert answer.status_code in (201, 503), answer.text
            return name, answer.json()["metadata"]["uid"] if answer.status_code == 201 else ""

        pending = [asyncio.create_task(create(f"e{number}")) for number in range(60)]
        await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.to_thread(server.kill)
        uid_of = dict(await asyncio.gather(*pending))
        assert any(uid_of.values())
        await asyncio.to_thread(server.start)
        again = await asyncio.gather(*(told(partial(http.put, f"/endpoints/{name}", json={"spec": spec()})) for name in uid_of))
        assert {answer.status_code for answer in again} <= {200, 201}
        uids = {answer.json()["metadata"]["name"]: answer.json()["metadata"]["uid"] for answer in again}
        assert all(uids[name] == uid for name, uid in uid_of.items() if uid), "what was acknowledged is what is there"
        assert len(set(uids.values())) == 60
        assert {answer.json()["metadata"]["generation"] for answer in again} == {1}
        quota = (await http.get("/quotas/cpu-small")).json()["status"]
        assert quota["used"] == 60
