"""A whole stack with stub engines that hang or wear out: what users see of it, through Envoy."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.shop import PROJECT, Shop
from tests.harness import freezer
from tests.harness.load import Load
from tests.harness.stack import Stack
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with Stack() as stack:
        shop = Shop(stack)
        shop.register("v1")
        yield shop


def stopped(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def test_a_hung_engine_loses_no_plain_request_and_is_replaced(shop: Shop) -> None:
    """Its own requests wait until the host has ended it, and are then answered by the other; nobody else waits."""
    shop.create("stuck", "v1", "--min-replicas", "2", "--max-replicas", "2")
    victim = shop.engines()[0]
    with Load(shop.client(), "stuck", workers=4, max_tokens=1, streams=False) as load:
        load.answer_at_least(20)
        stopped([victim])
        until("the endpoint says so", lambda: degraded(shop, "stuck") == "Hung", timeout_s=10)
        load.answer_at_least(20)
        until("the engine is ended", lambda: victim not in shop.engines(), timeout_s=30)
        until("two serve again", lambda: shop.get("stuck")["status"]["replicas"]["ready"] == 2, timeout_s=30)
        load.answer_at_least(20)
    assert load.lost == []
    shop.delete("stuck")


def test_an_engine_that_was_only_stopped_for_a_moment_is_kept(shop: Shop) -> None:
    shop.create("moment", "v1")
    (engine,) = shop.engines()
    stopped([engine])
    until("the endpoint says so", lambda: degraded(shop, "moment") == "Hung", timeout_s=10)
    os.kill(engine, signal.SIGCONT)
    until("it serves again", lambda: degraded(shop, "moment") == "None" and shop.ask("moment"), timeout_s=10)
    assert shop.engines() == [engine]
    shop.delete("moment")


@pytest.mark.skipif(not freezer.is_usable(), reason="this machine has no freezer that we may use")
def test_an_engine_that_only_falls_silent_is_out_while_requests_are_under_way(shop: Shop) -> None:
    shop.create("silent", "v1", "--min-replicas", "2", "--max-replicas", "2")
    engines = shop.engines()
    with Load(shop.client(), "silent", workers=4, max_tokens=1, streams=False) as load:
        load.answer_at_least(20)
        with freezer.frozen(engines[0]):
            until("the endpoint says so", lambda: degraded(shop, "silent") == "Hung", timeout_s=10)
            assert all(shop.ask("silent") for _ in range(5)), "whoever asks now is answered by the other"
        until("it serves again", lambda: degraded(shop, "silent") == "None", timeout_s=10)
    assert load.lost == []
    assert sorted(shop.engines()) == sorted(engines)
    shop.delete("silent")


def test_a_slow_replica_is_ejected_for_a_while_and_nothing_else_becomes_of_it(shop: Shop, tmp_path: Path) -> None:
    shop.register("v2", pace_directory=str(tmp_path), first_token_delay_s=0.05)
    shop.create("slow", "v2", "--min-replicas", "2", "--max-replicas", "2")
    engines = shop.engines()
    pace = tmp_path / str(engines[0])
    pace.write_text("1.0")
    with Load(shop.client(), "slow", workers=6, max_tokens=1) as load:
        until("the endpoint says so", lambda: shop.degraded("slow") == "Slow", timeout_s=60)
        shown = shop.stack.answer("replicas", "--project", PROJECT, "--endpoint", "slow")
        (slow,) = (replica for replica in shown if replica["reason"] == "Slow")
        assert slow["phase"] == "Ready"
        assert slow["message"].startswith("it gets no new requests for 30 s: ")
        assert shop.get("slow")["status"]["replicas"]["ready"] == 2
        pace.unlink()
        until("it is back", lambda: shop.degraded("slow") == "None", timeout_s=60)
        load.answer_at_least(20)
    assert load.lost == []
    assert sorted(shop.engines()) == sorted(engines)
    shop.delete("slow")


def test_a_replica_is_recycled_after_its_requests_without_a_lost_one(shop: Shop) -> None:
    shop.create("worn", "v1", "--max-requests-per-replica", "20")
    first = shop.engines()
    with Load(shop.client(), "worn", workers=2) as load:
        load.answer_at_least(30)
        until("its engine is another one", lambda: first[0] not in shop.engines(), timeout_s=60)
        load.answer_at_least(10)
    assert load.lost == []
    assert "ReplicaRecycled" in shop.run("endpoint", "events", "worn", "--project", PROJECT)
    shop.delete("worn")


def degraded(shop: Shop, name: str) -> str:
    """The reason of the endpoint's Degraded condition."""
    return next(str(c["reason"]) for c in shop.get(name)["status"]["conditions"] if c["type"] == "Degraded")
