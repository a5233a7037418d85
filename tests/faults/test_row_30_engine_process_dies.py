"""Row 30: one process of an engine dies: the replica is out within two seconds, the rest of its group is gone, another replaces it."""

import os
import signal
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.shop import PROJECT, Shop
from tests.harness.load import SteadyLoad
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(300)]


def failure_of(shop: Shop, name: str) -> datetime | None:
    """When its only failed replica was seen to fail. Another may serve in its place before anybody has asked how many are ready."""
    events = shop.stack.answer("endpoint", "events", name, "--project", PROJECT)
    return next((datetime.fromisoformat(event["at"]) for event in events if event["reason"] == "ReplicaFailed"), None)


def test_row_30_a_killed_engine_loses_no_plain_request_and_is_replaced(shop: Shop) -> None:
    shop.create("pair", "v1", "--min-replicas", "2", "--max-replicas", "2")
    victim = shop.engines()[0]
    with SteadyLoad(shop.base_url, shop.key, "pair", rate=50, long_streams=0, streams=False) as load:
        load.answer_at_least(50)
        os.kill(victim, signal.SIGKILL)
        killed_at = datetime.now(UTC)
        failed_at = until("its failure is told", lambda: failure_of(shop, "pair"))
        assert failed_at - killed_at < timedelta(seconds=2)
        load.answer_at_least(50)
    assert load.lost == []
    until("two engines serve again", lambda: shop.get("pair")["status"]["replicas"]["ready"] == 2 and victim not in shop.engines())
    shop.delete("pair")


def test_row_30_children_of_a_dead_engine_are_gone_before_another_takes_its_place(shop: Shop) -> None:
    shop.register("family", children=2)
    shop.create("family", "family")
    before = shop.engines()
    assert len(before) == 3
    os.kill(min(before), signal.SIGKILL)
    until("a whole new family serves", lambda: _is_new(shop, before))
    shop.delete("family")


def _is_new(shop: Shop, before: list[int]) -> bool:
    now = shop.engines()
    return shop.get("family")["status"]["replicas"]["ready"] == 1 and len(now) == 3 and not set(now) & set(before)
