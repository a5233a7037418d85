"""Row 22 on vLLM: whichever of its processes is stopped, the replica gets nothing new within five seconds, is ended and replaced.

`/health` is answered all the while, except by an API server that is stopped itself.
"""

import signal
import time
from collections.abc import Iterator

import pytest

from fleetform.host import processes
from tests.e2e.real_shop import PARTS, RealShop, part_of
from tests.e2e.shop import PROJECT
from tests.harness.engines import Looker
from tests.harness.load import SteadyLoad
from tests.harness.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
NAME = "hangs"
OUT_S = 5.0
ENDED_S = 60.0
START_S = 600


@pytest.fixture(scope="module")
def shop(real_shop: RealShop) -> Iterator[RealShop]:
    real_shop.serve(NAME, least=2)
    yield real_shop
    real_shop.delete(NAME)


@pytest.mark.parametrize("part", [PARTS[1], *(pytest.param(part, marks=pytest.mark.faults) for part in (PARTS[0], PARTS[2]))])
def test_row_22_whichever_process_of_vllm_is_stopped_it_is_out_in_five_seconds_and_replaced(shop: RealShop, part: bytes) -> None:
    looker = Looker(shop.stack, PROJECT)
    engine = until("two engines serve", lambda: looker.several(NAME), timeout_s=START_S)[0]
    victim = part_of(engine, part)
    body = {"max_tokens": 4, "ignore_eos": True}
    with SteadyLoad(shop.base_url, shop.key, NAME, rate=4, long_streams=0, streams=False, plain_body=body) as load:
        load.answer_at_least(16)
        hung_at = time.monotonic()
        assert processes.send(victim, signal.SIGSTOP)
        until("Envoy sends it nothing new", lambda: engine.socket in looker.out(NAME), timeout_s=4 * OUT_S, every_s=0.02)
        out_s = time.monotonic() - hung_at
        until("nothing of it is left", lambda: not any(map(processes.alive, engine.members)), timeout_s=ENDED_S)
        load.answer_at_least(16)
    assert out_s <= OUT_S
    assert load.lost == []
    told = [event for event in shop.events(NAME, "ReplicaFailed") if event["replica_id"] == engine.replica_id]
    assert len(told) == 1
    assert "Hung" in told[0]["message"]
    until("another has taken its place", lambda: looker.several(NAME), timeout_s=START_S)
