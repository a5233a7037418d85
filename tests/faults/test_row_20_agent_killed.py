"""Row 20: the host worker is killed while streams run: every engine is found again by its identity, none is restarted, nothing is lost."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import httpx2
import pytest

from fleetform.domain.protocol import HostReplica, HostReplicaState
from tests.e2e.shop import Shop
from tests.harness.judging import judge_stream
from tests.harness.load import SteadyLoad
from tests.harness.waiting import until
from tests.host.machine import Machine, identity_of

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(400)]
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
def test_row_20_fifty_killed_workers_under_streams_restart_no_engine_and_break_no_stream(machine: Machine) -> None:
    worker = machine.start_worker()
    before = machine.serving(children=1)
    with streams(before, 4) as whole:
        for _ in range(50):
            machine.kill(worker)
            done = sum(whole)
            until("streams end while no worker lives", partial(_more, whole, done), timeout_s=20)
            worker = machine.start_worker()
            assert identity_of(machine.await_state(HostReplicaState.SERVING)) == identity_of(before)
    assert all(whole)


@contextmanager
def streams(replica: HostReplica, count: int) -> Iterator[list[int]]:
    """So many streams of a second at any time, from the engine itself; yields how many of each asker were whole. None may break."""
    stop, broken, whole = threading.Event(), list[BaseException](), [0] * count
    body = {"model": "chat", "messages": [], "stream": True, "max_tokens": 20, "stub_token_delay_s": 0.05}

    def ask(number: int) -> None:
        transport = httpx2.HTTPTransport(uds=getattr(replica.address, "path", None))
        with httpx2.Client(transport=transport, base_url="http://engine", timeout=30) as http:
            while not stop.is_set():
                try:
                    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
                        judge_stream(answer.iter_lines())
                    whole[number] += 1
                except (AssertionError, httpx2.HTTPError) as error:
                    broken.append(error)
                    return

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield whole
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert broken == []


def _more(whole: list[int], than: int) -> bool:
    return sum(whole) > than
