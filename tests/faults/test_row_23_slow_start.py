"""Row 23: an engine that takes long to start is waited for, shown as starting, and never taken for a hung one."""

import threading

import pytest

from tests.e2e.shop import Shop
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(400)]


@pytest.mark.parametrize("start_s", [15, pytest.param(180, marks=pytest.mark.faults)])
def test_row_23_a_slow_start_is_left_alone(shop: Shop, start_s: int) -> None:
    name = f"slow-{start_s}"
    shop.register(name, start_delay_s=start_s)
    seen: set[int] = set()
    creation = threading.Thread(target=shop.create, args=(name, name))
    creation.start()
    until("its engine runs", shop.engines)
    while creation.is_alive():
        seen |= set(shop.engines())
        creation.join(0.5)
        if creation.is_alive() and not shop.get(name)["status"]["ready"]:
            assert "Starting" in str(shop.get(name)["status"]["conditions"]) or shop.get(name)["status"]["ready"]
    assert len(seen) == 1, "one engine from the first to the last moment"
    assert shop.get(name)["status"]["ready"]
    assert list(seen) == shop.engines()
    shop.delete(name)
