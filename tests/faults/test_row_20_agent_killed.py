"""Row 20: the host worker is killed while streams run: every engine is found again by its identity, none is restarted, nothing is lost."""

from functools import partial

import pytest

from fleetform.domain.protocol import HostReplicaState
from tests.e2e.shop import Shop
from tests.harness.load import SteadyLoad
from tests.harness.waiting import until
from tests.host.machine import Machine, identity_of

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(300)]
WORKER = "fleetform host worker"


def test_row_20_a_killed_worker_under_streams_loses_nothing(shop: Shop) -> None:
    shop.create("agent", "v1", "--min-replicas", "2", "--max-replicas", "2")
    before = shop.engines()
    body = {"max_tokens": 40, "stub_token_delay_s": 0.05}
    with SteadyLoad(shop.base_url, shop.key, "agent", rate=20, long_streams=5, long_body=body) as load:
        for _ in range(2):
            load.answer_at_least(20)
            (old,) = shop.stack.kill(WORKER)
            until("another worker runs", partial(_another_runs, shop, old))
        load.answer_at_least(60)
    assert load.lost == []
    until("both replicas are ready by the new worker's word", lambda: shop.get("agent")["status"]["replicas"]["ready"] == 2)
    assert shop.engines() == before
    shop.delete("agent")


def _another_runs(shop: Shop, old: int) -> bool:
    return bool(set(shop.stack.processes(WORKER)) - {old})


@pytest.mark.faults
def test_row_20_fifty_killed_workers_restart_no_engine(machine: Machine) -> None:
    worker = machine.start_worker()
    before = machine.serving(children=1)
    for _ in range(50):
        machine.kill(worker)
        assert machine.ask(before, max_tokens=2).status_code == 200
        worker = machine.start_worker()
        assert identity_of(machine.await_state(HostReplicaState.SERVING)) == identity_of(before)
