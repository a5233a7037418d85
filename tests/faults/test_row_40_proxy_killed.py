"""Row 40: the proxy is killed while the server hangs: what was in flight is lost and no more; it serves again at once.

Its successor has everything from the host worker, which has it on disk.
"""

import os
import signal
import time

import pytest

from tests.e2e.shop import Shop
from tests.harness.judging import KIND_LONG
from tests.harness.load import SteadyLoad
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(300)]
ENVOY = "envoy --config-path"
RATE, LONG = 50, 5
AWAY_S = 2.0
"""The row says one second; a test machine may have other things to do."""


def test_row_40_a_killed_proxy_serves_again_from_the_last_good_configuration(shop: Shop) -> None:
    shop.create("proxy", "v1", "--min-replicas", "2", "--max-replicas", "2")
    (server,) = shop.stack.processes("fleetform server")
    until("Envoy runs steadily", lambda: _age_s(shop) > 10, timeout_s=20)
    body = {"max_tokens": 200, "stub_token_delay_s": 0.05}
    os.kill(server, signal.SIGSTOP)
    try:
        with SteadyLoad(shop.base_url, shop.key, "proxy", rate=RATE, long_streams=LONG, long_body=body) as load:
            load.answer_at_least(50)
            in_flight = load.under_way
            shop.stack.kill(ENVOY)
            killed_at, answered = time.monotonic(), load.answered
            until("it serves again", lambda: load.answered > answered + 1, timeout_s=10, every_s=0.01)
            away_s = time.monotonic() - killed_at
            lost_by_then = len(load.lost)
            load.answer_at_least(100)
    finally:
        os.kill(server, signal.SIGCONT)
    assert away_s < AWAY_S
    assert len(load.lost) == lost_by_then, "nothing is lost once it serves again"
    assert sum(loss.kind == KIND_LONG and loss.status == 200 for loss in load.lost) <= LONG, "each running stream once"
    assert len(load.lost) <= in_flight + RATE * away_s + LONG * (1 + away_s / 0.2), "what was in flight, and what came meanwhile"
    shop.delete("proxy")


def _age_s(shop: Shop) -> float:
    (found,) = (p for p in shop.stack.answer("status")["programs"] if p["name"] == "envoy")
    return float(found["age_s"])
