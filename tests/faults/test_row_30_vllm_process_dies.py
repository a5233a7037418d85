"""Row 30 on vLLM: whichever of its processes dies, the replica is out within two seconds, and nothing of it is left."""

import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from fleetform.host import processes
from tests.e2e.real_shop import PARTS, RealShop, part_of
from tests.e2e.shop import PROJECT
from tests.harness.engines import Engine, Looker
from tests.harness.load import SteadyLoad
from tests.harness.stack import Stack
from tests.harness.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
NAME = "pair"
BOUND_S = 2.0
START_S = 600


@pytest.fixture(scope="module", params=["forked", pytest.param("plain", marks=pytest.mark.faults)])
def shop(request: pytest.FixtureRequest) -> Iterator[RealShop]:
    """Two replicas, started from the zygote or plainly, which takes as long as ten forks."""
    if request.param == "forked":
        found = request.getfixturevalue("real_shop")
        found.serve(NAME, least=2)
        yield found
        found.delete(NAME)
    else:
        with Stack({"FLEETFORM_ZYGOTE": "off"}) as stack:
            made = RealShop(stack)
            made.serve(NAME, least=2)
            yield made


@pytest.mark.parametrize("part", PARTS, ids=["API server", "engine core", "worker"])
def test_row_30_whichever_process_of_vllm_is_killed_the_replica_fails_and_no_plain_request_is_lost(shop: RealShop, part: bytes) -> None:
    looker = Looker(shop.stack, PROJECT)
    engine = until("two engines serve", lambda: looker.several(NAME), timeout_s=START_S)[0]
    victim = part_of(engine, part)
    body = {"max_tokens": 16, "ignore_eos": True}
    with SteadyLoad(shop.base_url, shop.key, NAME, rate=8, long_streams=0, streams=False, plain_body=body) as load:
        load.answer_at_least(16)
        killed_at = datetime.now(UTC)
        assert processes.send(victim, signal.SIGKILL)
        event = until("it has failed", lambda: _failure(shop, engine))
        assert (datetime.fromisoformat(event["at"]) - killed_at).total_seconds() <= BOUND_S
        assert "Crashed: the engine was ended by signal 9" in event["message"] or f"(pid {victim.pid})" in event["message"]
        until("Envoy does not know it any more", lambda: engine.socket not in looker.routed(NAME))
        until("nothing of it is left", lambda: not any(map(processes.alive, engine.members)))
        load.answer_at_least(16)
    assert load.lost == []
    until("another has taken its place", lambda: looker.several(NAME), timeout_s=START_S)


def _failure(shop: RealShop, engine: Engine) -> dict[str, Any] | None:
    """The event that says that the replica has failed, at the time when it was written down."""
    return next((event for event in shop.events(NAME, "ReplicaFailed") if event["replica_id"] == engine.replica_id), None)
