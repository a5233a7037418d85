"""Row 22: an engine that hangs with its socket open gets nothing new within five seconds; one that is only saturated is left alone."""

import os
import signal
import time

import pytest

from tests.e2e.shop import Shop
from tests.harness import freezer
from tests.harness.load import SteadyLoad
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(300)]
BURST = 1280
OUT_S = 5.0


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_row_22_a_hung_engine_is_out_in_five_seconds_and_replaced(shop: Shop, how: str) -> None:
    if how == "frozen" and not freezer.is_usable():
        pytest.skip("`mkdir /sys/fs/cgroup/freezer/x` is not allowed here")
    name = f"hangs-{how}"
    shop.create(name, "v1", "--min-replicas", "2", "--max-replicas", "2")
    victim = shop.engines()[0]
    with SteadyLoad(shop.base_url, shop.key, name, rate=20, long_streams=0, streams=False) as load:
        load.answer_at_least(40)
        hung_at = time.monotonic()
        if how == "stopped":
            os.kill(victim, signal.SIGSTOP)
            _out_and_replaced(shop, name, victim, hung_at)
        else:
            with freezer.frozen(victim):
                _out(shop, name, hung_at)
            until("it serves again", lambda: shop.degraded(name) == "None", timeout_s=20)
            assert victim in shop.engines(), "it came back before it was given up"
        load.answer_at_least(40)
    assert load.lost == []
    shop.delete(name)


def _out(shop: Shop, name: str, hung_at: float) -> None:
    until("it is out of rotation", lambda: shop.degraded(name) == "Hung", timeout_s=OUT_S + 3, every_s=0.05)
    assert time.monotonic() - hung_at < OUT_S + 1, "of it a second for the command line"


def _out_and_replaced(shop: Shop, name: str, victim: int, hung_at: float) -> None:
    _out(shop, name, hung_at)
    until("it is ended", lambda: victim not in shop.engines(), timeout_s=40)
    until("two serve again", lambda: shop.get(name)["status"]["replicas"]["ready"] == 2, timeout_s=40)


@pytest.mark.faults
def test_row_22_a_burst_of_1280_restarts_nothing(shop: Shop) -> None:
    """More than an engine can do at once, and each takes its time."""
    shop.create("burst", "v1")
    before = shop.engines()
    body = {"max_tokens": 20, "stub_token_delay_s": 0.2}
    with SteadyLoad(shop.base_url, shop.key, "burst", rate=400, long_streams=0, plain_body=body, timeout_s=200) as load:
        until("all of them are sent", lambda: load.sent >= BURST, timeout_s=60)
    assert load.lost == []
    assert shop.engines() == before
    assert shop.degraded("burst") == "None"
    shop.delete("burst")
