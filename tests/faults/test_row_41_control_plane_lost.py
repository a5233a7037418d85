"""Row 41: the server stops answering: what was told last is served on, also past a lost replica; the machine says that it is stale."""

import os
import signal
import time

import pytest

from tests.e2e.shop import Shop
from tests.harness.load import SteadyLoad
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(900)]


@pytest.mark.faults
@pytest.mark.parametrize("away_s", [600])
def test_row_41_the_last_configuration_serves_and_says_that_it_is_old(shop: Shop, away_s: int) -> None:
    name = f"plane-{away_s}"
    shop.create(name, "v1", "--min-replicas", "2", "--max-replicas", "2")
    victim = shop.engines()[0]
    until("it is not stale", lambda: shop.stack.answer("status")["stale"] == "")
    (server,) = shop.stack.processes("fleetform server")
    os.kill(server, signal.SIGSTOP)
    stopped_at = time.monotonic()
    try:
        with SteadyLoad(shop.base_url, shop.key, name, rate=20, long_streams=0, streams=False) as load:
            load.answer_at_least(20)
            os.kill(victim, signal.SIGKILL)
            until("the machine says so", lambda: "no server has asked" in shop.stack.fleetform("status"), timeout_s=40, every_s=1)
            assert time.monotonic() - stopped_at > 29
            until("the time is over", lambda: time.monotonic() - stopped_at > away_s, timeout_s=away_s, every_s=0.5)
            os.kill(server, signal.SIGCONT)
            until("the lost replica is replaced", lambda: shop.get(name)["status"]["replicas"]["ready"] == 2, timeout_s=60)
            load.answer_at_least(20)
    finally:
        os.kill(server, signal.SIGCONT)
    assert load.lost == []
    until("it is not stale any more", lambda: shop.stack.answer("status")["stale"] == "", timeout_s=20)
    shop.delete(name)
