"""Row 15: at one free place exactly one of many is admitted, also through two servers at once, and no sample is over the quota."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from functools import partial

import asyncpg
import pytest

from fleetform.host import postgres
from tests.control_api import Api, endpoint_spec
from tests.faults.patience import told
from tests.faults.two_servers import another, client, declare, spec
from tests.harness.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.timeout(180)]
QUOTA = 37
SAMPLE_S = 0.01
BOOKED = "SELECT coalesce(sum(booked), 0) FROM endpoint WHERE deleted_at IS NULL"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


async def test_row_15_two_hundred_creations_never_overbook(api: Api) -> None:
    await api.project("acme", QUOTA)
    answers = await asyncio.gather(*(told(partial(api.put, f"/projects/acme/endpoints/e{n}", endpoint_spec())) for n in range(200)))
    assert Counter(answer.status_code for answer in answers) == {201: QUOTA, 409: 200 - QUOTA}
    assert all(answer.json()["free"] == 0 for answer in answers if answer.status_code == 409)
    quota = (await api.get("/projects/acme/quotas/cpu-small")).json()
    assert (quota["status"]["used"], quota["status"]["free"]) == (QUOTA, 0)


async def test_row_15_two_servers_admit_exactly_one_to_the_last_place(server: Server) -> None:
    with another(server) as second_url:
        async with client(server.base_url, server.token) as one, client(second_url, server.token) as two:
            await declare(one, quota=QUOTA)
            assert (await one.put("/endpoints/first", json={"spec": spec(scaling={"min_replicas": QUOTA - 1})})).status_code == 201
            samples: list[int] = []
            sampling = asyncio.create_task(_sample(server, samples))
            both = [told(partial(each.put, f"/endpoints/e{n}", json={"spec": spec()})) for n in range(100) for each in (one, two)]
            answers = await asyncio.gather(*both)
            sampling.cancel()
            # The same name goes to both servers: the one that was admitted is there for its twin too.
            admitted = [answer for answer in answers if answer.is_success]
            assert sum(answer.status_code == 201 for answer in admitted) == 1
            assert len({answer.json()["metadata"]["name"] for answer in admitted}) == 1
            refused = [answer.json() for answer in answers if answer.status_code == 409]
            assert len(refused) + len(admitted) == 200
            assert all(problem["type"].endswith("quota-exceeded") for problem in refused)
            assert all(problem["free"] in (0, 1) for problem in refused)
            assert all({"endpoint": "first", "replicas": QUOTA - 1} in problem["holders"] for problem in refused)
            assert samples
            assert max(samples) == QUOTA


async def _sample(server: Server, samples: list[int]) -> None:
    """What is booked, every hundredth of a second, as the database has it."""
    connection = await asyncpg.connect(postgres.url(server.settings))
    try:
        while True:
            samples.append(int(await connection.fetchval(BOOKED)))
            await asyncio.sleep(SAMPLE_S)
    finally:
        await connection.close()
