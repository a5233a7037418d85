"""Row 39: Envoy is exchanged for another, as an upgrade or a changed setting does: nothing is lost, not even what has run for long."""

from collections.abc import Iterator

import pytest

from tests.e2e.shop import Shop
from tests.harness.load import SteadyLoad
from tests.harness.stack import Stack
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(400)]
ENVOY = "envoy --config-path"
BODY = {"max_tokens": 60, "stub_token_delay_s": 0.1}


@pytest.fixture
def own_shop() -> Iterator[Shop]:
    """A stack of this test alone: its Envoys go on for a while after they were exchanged."""
    with Stack() as stack:
        shop = Shop(stack)
        shop.register("v1")
        yield shop


def exchange(shop: Shop, max_body_mib: int) -> None:
    """Change a setting that stands in Envoy's bootstrap, and run `up`."""
    before = set(shop.stack.processes(ENVOY))
    shop.stack.variables["FLEETFORM_MAX_BODY_MIB"] = str(max_body_mib)
    shop.stack.up()
    until("another Envoy runs", lambda: set(shop.stack.processes(ENVOY)) - before)


def test_row_39_an_exchanged_proxy_loses_nothing_also_twice_in_a_row(own_shop: Shop) -> None:
    own_shop.create("exchanged", "v1", "--min-replicas", "2", "--max-replicas", "2")
    engines = own_shop.engines()
    for number in range(2):
        with SteadyLoad(own_shop.base_url, own_shop.key, "exchanged", rate=50, long_streams=10, long_body=BODY) as load:
            load.answer_at_least(100)
            exchange(own_shop, 20 + number)
            load.answer_at_least(800)
            assert len(own_shop.stack.processes(ENVOY)) == 2, "the old one finishes what it has, and its own predecessor is gone"
        assert load.lost == []
    assert own_shop.engines() == engines


def test_row_39_a_replica_drains_until_the_exchanged_proxy_has_nothing_there_either(own_shop: Shop) -> None:
    own_shop.create("emptied", "v1", "--min-replicas", "2", "--max-replicas", "2")
    with SteadyLoad(own_shop.base_url, own_shop.key, "emptied", rate=5, long_streams=6, long_body=BODY | {"max_tokens": 150}) as load:
        load.answer_at_least(20)
        exchange(own_shop, 20)
        own_shop.update("emptied", "--min-replicas", "1", "--max-replicas", "1")
        until("one engine is left", lambda: len(own_shop.engines()) == 1, timeout_s=120)
        load.answer_at_least(20)
    assert load.lost == []
