"""Row 19: a host cannot be asked for a while and comes back: its replicas serve on and are taken as they are, never two of one."""

import os
import signal

import pytest

from tests.e2e.shop import Shop
from tests.harness.load import SteadyLoad
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(1200)]
WORKER = "fleetform host worker"
TOLD_S = 15.0
SLACK_S = 5.0
"""For the command line, on a machine that has other things to do."""


@pytest.mark.parametrize("away_s", [20, *(pytest.param(away_s, marks=pytest.mark.faults) for away_s in (60, 600))])
def test_row_19_what_a_silent_host_runs_serves_on_and_is_taken_as_it_is(shop: Shop, away_s: int) -> None:
    """The worker is stopped: the server's questions get no answer, as behind a network that is cut."""
    name = f"cut-{away_s}"
    shop.create(name, "v1", "--min-replicas", "2", "--max-replicas", "2")
    before = shop.engines()
    (worker,) = shop.stack.processes(WORKER)
    with SteadyLoad(shop.base_url, shop.key, name, rate=20, long_streams=2) as load:
        load.answer_at_least(20)
        os.kill(worker, signal.SIGSTOP)
        try:
            until("the loss is told", lambda: shop.degraded(name) == "HostUnreachable", timeout_s=TOLD_S + SLACK_S)
            load.answer_at_least(20 * away_s, timeout_s=away_s + 60)
            assert shop.engines() == before, "nothing is started for what may still run"
        finally:
            os.kill(worker, signal.SIGCONT)
        until("the host is back", lambda: shop.degraded(name) == "None", timeout_s=30)
        load.answer_at_least(20)
    assert load.lost == []
    assert shop.engines() == before
    shop.delete(name)
