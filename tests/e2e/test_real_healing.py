"""Real engines that wear out: each is replaced, one after the other, and nobody who asks notices."""

import re
import threading

import pytest

from fleetform.planner.wear import RECYCLED, limit_of
from tests.e2e.real_shop import RealShop
from tests.harness.load import SteadyLoad
from tests.harness.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
NAME, LIMIT, REPLICAS = "worn", 20, 2
BODY = {"max_tokens": 8, "ignore_eos": True}
LONG_BODY = {"max_tokens": 30, "ignore_eos": True}
LIVING = {"Placing", "Fetching", "Starting", "Ready"}


class Watch:
    """Looks at the endpoint's replicas all the time. ready: how few were ready, living: how many lived, at worst."""

    def __init__(self, shop: RealShop) -> None:
        self.ready, self.living = REPLICAS, 0
        self._shop = shop
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            phases = list(self._shop.replicas(NAME).values())
            self.ready = min(self.ready, phases.count("Ready"))
            self.living = max(self.living, sum(phase in LIVING for phase in phases))


def test_worn_engines_are_replaced_one_at_a_time_without_a_lost_request(real_shop: RealShop) -> None:
    real_shop.serve(NAME, "--max-requests-per-replica", str(LIMIT), least=REPLICAS)
    first = set(real_shop.replicas(NAME))
    load = SteadyLoad(real_shop.base_url, real_shop.key, NAME, rate=4, long_streams=1, plain_body=BODY, long_body=LONG_BODY)
    with load, Watch(real_shop) as watch:
        until("both of the first are gone", lambda: not first & set(real_shop.replicas(NAME)), timeout_s=240, every_s=0.5)
        load.answer_at_least(20)
    assert load.lost == []
    assert watch.ready == REPLICAS, "a successor takes over before the worn one leaves"
    assert watch.living == REPLICAS + 1, "one at a time"
    served = {str(event["replica_id"]): _served(str(event["message"])) for event in real_shop.events(NAME, RECYCLED)}
    assert first <= served.keys()
    assert all(count >= limit_of(replica_id, LIMIT) for replica_id, count in served.items()), served
    real_shop.delete(NAME)


def _served(message: str) -> int:
    """The requests that a replica had answered when it was to be replaced, by its event."""
    found = re.search(r"it has answered ([\d,]+) requests, of the 20", message)
    assert found is not None, message
    return int(found[1].replace(",", ""))
