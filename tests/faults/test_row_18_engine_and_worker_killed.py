"""Row 18: the host process and an engine die together, as when the power goes: the proxy does without both at once."""

import os
import signal
import time

import pytest

from tests.e2e.shop import PROJECT, Shop
from tests.harness.engines import Looker
from tests.harness.load import Load
from tests.harness.waiting import until

OUT_S = 2.0
pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(300)]


def test_row_18_the_proxy_does_without_a_dead_engine_though_nobody_tells_it(shop: Shop) -> None:
    """The host worker dies with the engine, as when the power goes: no request waits for either."""
    shop.create("powerless", "v1", "--min-replicas", "2", "--max-replicas", "2")
    looker = Looker(shop.stack, PROJECT)
    victim = looker.engines("powerless")[0]
    (worker,) = shop.stack.processes("fleetform host worker")
    with Load(shop.client(), "powerless", workers=4, max_tokens=1, streams=False) as load:
        load.answer_at_least(20)
        assert victim.socket in looker.healthy("powerless")
        for pid in (worker, victim.members[0].pid):
            os.kill(pid, signal.SIGKILL)
        killed_at = time.monotonic()
        until("the proxy does without it", lambda: victim.socket not in looker.healthy("powerless"), timeout_s=10, every_s=0.02)
        out_s = time.monotonic() - killed_at
        load.answer_at_least(40)
    assert out_s < OUT_S
    assert load.lost == []
    shop.delete("powerless")
