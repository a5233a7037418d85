"""An engine that never becomes ready: given up after the region's start timeout, and nothing of it is left."""

from collections.abc import Iterator

import pytest

from tests.e2e.shop import Shop
from tests.harness.load import Load
from tests.harness.stack import Stack
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with Stack({"FLEETFORM_START_TIMEOUT_S": "3"}) as stack:
        shop = Shop(stack)
        shop.register("v1")
        shop.register("hangs", mode="hang", children=1)
        yield shop


def test_a_creation_says_how_long_was_waited_and_leaves_nothing_running(shop: Shop) -> None:
    told = shop.create("stuck", "hangs", fails=True)
    assert "StartTimeout: the engine was not ready within 3 s" in told
    until("no engine is left", lambda: not shop.engines(), timeout_s=30)
    shop.delete("stuck")


def test_an_update_is_rolled_back_while_the_old_version_serves(shop: Shop) -> None:
    shop.create("steady", "v1")
    before = shop.engines()
    with Load(shop.client(), "steady", workers=1) as load:
        load.answer_at_least(3)
        told = shop.update("steady", "--traffic-split", "hangs=100", fails=True)
        load.answer_at_least(3)
    assert load.lost == []
    assert "the engine was not ready within 3 s" in told
    status = shop.get("steady")["status"]
    assert status["rejected"]["reason"] == "StartTimeout"
    assert status["live"]["variants"]["v1"]["weight"] == 100
    until("only the old engine is left", lambda: shop.engines() == before, timeout_s=30)
    shop.delete("steady")
