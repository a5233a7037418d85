"""Row 18: the host process and an engine die together, as when the power goes: the proxy does without both at once."""

import os
import signal

import pytest

from tests.e2e.shop import Shop
from tests.harness.load import Load

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(300)]


def test_row_18_the_proxy_does_without_a_dead_engine_though_nobody_tells_it(shop: Shop) -> None:
    """The host worker dies with the engine, as when the power goes: no request waits for either."""
    shop.create("powerless", "v1", "--min-replicas", "2", "--max-replicas", "2")
    with Load(shop.client(), "powerless", workers=4, max_tokens=1, streams=False) as load:
        load.answer_at_least(20)
        victim = shop.engines()[0]
        shop.stack.kill("fleetform host worker")
        os.kill(victim, signal.SIGKILL)
        load.answer_at_least(40)
    assert load.lost == []
    shop.delete("powerless")
