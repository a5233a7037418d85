"""Row 4: the link is cut after COMMIT was sent: the caller is told to try again, and that gives the first result, not a second object."""

from collections.abc import Iterator

import pytest

from tests.faults.postgres_proxy import Between
from tests.faults.two_servers import client, declare, spec

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.timeout(120)]


@pytest.fixture
def server() -> Iterator[Between]:
    with Between() as between:
        yield between


async def test_row_04_the_same_put_again_is_the_first_object(server: Between) -> None:
    async with client(server.base_url, server.token) as http:
        await declare(http, quota=10)
        server.proxy.lose_commits = 1
        answer = await http.put("/endpoints/chat", json={"spec": spec()})
        assert server.proxy.lost, "no reply was lost"
        if answer.status_code != 201:  # the reconciler's COMMIT may have come first
            assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) > 0
        again = await http.put("/endpoints/chat", json={"spec": spec()})
        assert again.status_code in (200, 201)
        found = (await http.get("/endpoints")).json()["items"]
        assert [(endpoint["metadata"]["name"], endpoint["metadata"]["generation"]) for endpoint in found] == [("chat", 1)]
        events = (await http.get("/endpoints/chat/events")).json()["items"]
        assert len([event for event in events if event["reason"] == "Created"]) == 1


async def test_row_04_writes_and_deletions_whose_outcomes_are_lost_are_done_once(server: Between) -> None:
    async with client(server.base_url, server.token) as http:
        await declare(http, quota=10)
        assert (await http.put("/endpoints/chat", json={"spec": spec()})).status_code == 201
        for number in range(10):
            server.proxy.lose_commits = 1
            wanted = spec(labels={"n": str(number)})
            statuses = [(await http.put("/endpoints/chat", json={"spec": wanted})).status_code for _ in range(3)]
            assert statuses[-1] == 200
            assert set(statuses) <= {200, 503}
        found = (await http.get("/endpoints/chat")).json()
        assert (found["metadata"]["generation"], found["spec"]["labels"]) == (11, {"n": "9"})
        server.proxy.lose_commits = 1
        statuses = [(await http.delete("/endpoints/chat")).status_code for _ in range(3)]
        assert set(statuses) <= {200, 202, 204, 404, 503}
        assert statuses[-1] != 503
    assert server.proxy.lost >= 10
