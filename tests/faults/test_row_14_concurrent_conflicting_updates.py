"""Row 14: of conflicting writers one wins whole; who named the generation is told that it has passed; halves never mix."""

import asyncio
from collections import Counter
from functools import partial

import pytest

from tests.control_api import Api, endpoint_spec
from tests.faults.patience import told

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.timeout(180)]
PATH = "/projects/acme/endpoints/chat"


async def test_row_14_fifty_conflicting_writers_leave_one_whole_wish(api: Api) -> None:
    await api.project("acme", 100)
    specs = [endpoint_spec(labels={"writer": str(n)}, scaling={"min_replicas": n + 1}) for n in range(50)]
    answers = await asyncio.gather(*(told(partial(api.put, PATH, spec)) for spec in specs))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 49}
    assert sorted(answer.json()["metadata"]["generation"] for answer in answers) == list(range(1, 51))
    left = (await api.get(PATH)).json()
    assert left["spec"] in specs
    assert left["status"]["effective"]["min_replicas"] == left["spec"]["scaling"]["min_replicas"]
    assert left["metadata"]["generation"] == 50


async def test_row_14_of_fifty_writers_who_name_the_generation_one_wins(api: Api) -> None:
    await api.project("acme", 100)
    await api.must_put(PATH, endpoint_spec())
    specs = [endpoint_spec(labels={"writer": str(n)}) for n in range(50)]
    answers = await asyncio.gather(*(told(partial(api.put, PATH, spec, if_match='"1-1"')) for spec in specs))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 412: 49}
    (won,) = (answer.json()["spec"] for answer in answers if answer.status_code == 200)
    assert (await api.get(PATH)).json()["spec"] == won
