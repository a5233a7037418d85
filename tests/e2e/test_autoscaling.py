"""The count of replicas on a whole stack with stub engines: it follows the load through Envoy, says why, and loses nothing on the way."""

from collections.abc import Iterator

import pytest

from tests.e2e.shop import PROJECT, Shop
from tests.harness.load import Load
from tests.harness.stack import Stack
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(300)]
COUNTS_WHOLE_S = 60
"""How long a proxy has to count until its averages are believed."""


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with Stack() as stack:
        shop = Shop(stack)
        shop.register("v1")
        yield shop


def has(shop: Shop, ready: int) -> bool:
    replicas = shop.get("busy")["status"]["replicas"]
    return (replicas["ready"], replicas["starting"], replicas["draining"]) == (ready, 0, 0)


def test_the_count_follows_the_load_and_the_bounds_and_says_why(shop: Shop) -> None:
    shop.create("busy", "v1", "--min-replicas", "1", "--max-replicas", "3", "--target-concurrency", "1")
    before = shop.run("endpoint", "get", "busy", "--project", PROJECT)
    assert "min_replicas is 1" in before
    assert "more when\tmore than 0.2 requests are under way or held" in before
    assert "fewer when\tmin_replicas is lowered" in before
    with Load(shop.client(), "busy") as load:
        until("the load is believed and followed", lambda: has(shop, 3), timeout_s=COUNTS_WHOLE_S + 60, every_s=0.5)
        load.answer_at_least(50)
        told = shop.run("endpoint", "get", "busy", "--project", PROJECT)
        assert "more when\tmax_replicas is raised" in told
        assert "requests under way or held on average over" in told
        # New bounds hold at once, and what they take away ends its requests first.
        shop.update("busy", "--max-replicas", "2")
        until("the maximum is kept to", lambda: has(shop, 2), timeout_s=60)
        load.answer_at_least(50)
    assert load.lost == []
    events = shop.run("endpoint", "events", "busy", "--project", PROJECT)
    assert "ScaledUp" in events
    assert "from 3 to 2 replicas: max_replicas is 2" in events
    shop.delete("busy")
    until("its engines are gone", lambda: not shop.engines(), timeout_s=30)
