"""What a host tells of its engines: their metrics, their memory, their streams; and what it does not know it does not tell."""

import json
import os
import signal
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from fleetform.domain.load import EngineLoad, HostLoad, TrackWindow, Windows
from fleetform.gateway.outliers import Outliers
from fleetform.gateway.windows import WindowStore
from fleetform.host import processes
from fleetform.host.engine_metrics import Metrics, parse
from fleetform.host.engine_watch import _Engine
from fleetform.host.memory import memory_mib
from fleetform.host.replica import Replica
from tests.harness.waiting import until
from tests.host.machine import Machine, identity_of

TEXT = """
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="chat"} 3.0
vllm:num_requests_waiting{engine="0",model_name="chat"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="chat",reason="capacity"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="chat"} 0.25
vllm:cache_config_info{block_size="16",engine="0",kv_cache_size_tokens="None",num_gpu_blocks="100",prefix="a\\"b,c=\\"d"} 1.0
vllm:prompt_tokens_total{engine="0",model_name="chat"} 500.0
vllm:request_prompt_tokens_sum{engine="0",model_name="chat"} 500.0
vllm:request_prompt_tokens_count{engine="0",model_name="chat"} 10.0
vllm:request_prompt_tokens_bucket{engine="0",le="1.0",model_name="chat"} 0.0
process_resident_memory_bytes 1e+09
"""


def test_metrics_of_vllm() -> None:
    assert parse(TEXT) == Metrics(running=3, waiting=2, kv_usage=0.25, token_capacity=1600, prompt_tokens_mean=50.0)


def test_several_parts_of_one_engine_are_added_and_its_own_word_on_its_capacity_counts() -> None:
    second = TEXT.replace('engine="0"', 'engine="1"').replace("} 0.25", "} 0.75").replace('tokens="None"', 'tokens="900"')
    assert parse(TEXT + second) == Metrics(running=6, waiting=4, kv_usage=0.75, token_capacity=2500, prompt_tokens_mean=50.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tgi_queue_size 4\nllamacpp:requests_processing 1\n",
        "<html>not metrics</html>",
        "vllm:num_requests_running NaN\nvllm:kv_cache_usage_perc +Inf\nvllm:num_requests_waiting{} x\n",
        'vllm:cache_config_info{num_gpu_blocks="None",block_size="16"} 1.0\n',
        "vllm:request_prompt_tokens_sum 0\nvllm:request_prompt_tokens_count 0\n",
        "\x00\xff" * 100,
    ],
)
def test_what_is_not_said_is_not_known(text: str) -> None:
    assert parse(text) == Metrics()


def test_pauses_of_streams_are_compared_between_replicas_from_the_second_answer_on() -> None:
    told: list[tuple[str, dict[int, int]]] = []

    class Heard(Outliers):
        def streamed(self, replica_id: str, gaps: Mapping[int, int], over_s: float, now: float) -> None:
            assert 0 <= over_s < 60
            told.append((replica_id, dict(gaps)))

    record = SimpleNamespace(replica_id="r1", route_key="p1/m", start=SimpleNamespace(track=SimpleNamespace(track_id="a")))
    engine = _Engine(cast(Replica, SimpleNamespace(record=record)), WindowStore(), Heard(), is_new=False)
    for gaps in ({"30": 5}, {"30": 8, "31": 1}, {"30": 8, "31": 1}):
        engine._streamed(json.dumps({"process": 7, "streams_failed": 0, "gaps": gaps}).encode())
    assert told == [("r1", {30: 3, 31: 1})]


def test_an_idle_engine_says_zero() -> None:
    assert parse("vllm:num_requests_running 0.0\nvllm:kv_cache_usage_perc 0.0\n") == Metrics(running=0, kv_usage=0.0)


def test_memory_that_processes_share_counts_once() -> None:
    """64 MiB touched before a fork: the two processes with it are smaller than what each has in memory says."""
    block = bytearray(os.urandom(1 << 20) * 64)
    ready, go_on = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"x")
        os.read(go_on[0], 1)
        os._exit(len(block) & 0)
    try:
        os.read(ready[0], 1)
        both = memory_mib([os.getpid(), child])
        assert both is not None
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in (os.getpid(), child))
        assert 64 <= both <= pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20) - 60
        assert memory_mib([]) is None
        assert memory_mib([2**22 - 1]) is None
    finally:
        os.write(go_on[1], b"x")
        os.waitpid(child, 0)
        for descriptor in (*ready, *go_on):
            os.close(descriptor)


def load(machine: Machine) -> HostLoad:
    return msgspec.json.decode(machine.call("GET", "/v1/load").content, type=HostLoad)


def engine(machine: Machine, replica_id: str = "r1") -> EngineLoad | None:
    return next((found for found in load(machine).engines if found.replica_id == replica_id), None)


def known(machine: Machine, running: int) -> EngineLoad | None:
    """The engine's load once it says so, with its memory."""
    found = engine(machine)
    return found if found is not None and found.running == running and found.memory_mib is not None else None


def window(machine: Machine, gaps: int = 0) -> TrackWindow | None:
    """The track's window once it has so many gaps in cell 10."""
    since = (datetime.now(UTC) - timedelta(minutes=10)).isoformat()
    answer = machine.call("GET", "/v1/gateway/windows", key="acme/chat", since=since)
    found = msgspec.json.decode(answer.content, type=Windows).tracks
    return found[0] if found and found[0].gaps.counts.get(10, 0) >= gaps else None


def tell(folder: Path, process: int, failed: int, **gaps: int) -> None:
    counts = {"process": process, "begun": 9, "ended": 9, "parts": 9, "streams_failed": failed, "gaps": {k[1:]: v for k, v in gaps.items()}}
    file = folder / "statistics.new"
    file.write_text(json.dumps(counts))
    file.replace(folder / "statistics")


def test_engines_are_asked_and_their_streams_counted(worker: Machine) -> None:
    folder = worker.root / "told"
    folder.mkdir()
    (folder / "metrics").write_text(TEXT)
    tell(folder, process=1, failed=5, c10=100)
    worker.serving(told_directory=str(folder))
    found = until("the engine is known", lambda: known(worker, 3))
    assert (found.waiting, found.kv_usage, found.token_capacity) == (2, 0.25, 1600)
    assert found.memory_mib is not None
    assert 0 < found.memory_mib < 200
    seen = until("what it says first counts", lambda: window(worker))
    assert (seen.track, seen.errors, seen.requests, seen.gaps.counts) == ("v1.00000000", 5, 0, {10: 100})
    tell(folder, process=1, failed=6, c10=103, c20=1)
    seen = until("and what is new since", lambda: window(worker, gaps=101))
    assert (seen.errors, seen.gaps.counts) == (6, {10: 103, 20: 1})
    tell(folder, process=2, failed=50, c10=500)
    (folder / "metrics").write_text(TEXT.replace("} 3.0", "} 4.0"))
    until("another process is known", lambda: known(worker, 4))
    tell(folder, process=2, failed=50, c10=501)
    after = until("counting goes on", lambda: window(worker, gaps=104))
    assert after.errors == 6


def test_of_an_engine_that_was_taken_over_only_what_is_new_counts(machine: Machine) -> None:
    """What it had done before, an earlier worker may have counted."""
    folder = machine.root / "told"
    folder.mkdir()
    (folder / "metrics").write_text(TEXT)
    tell(folder, process=1, failed=0)
    first = machine.start_worker()
    machine.serving(told_directory=str(folder))
    machine.kill(first)
    tell(folder, process=1, failed=5, c10=100)
    machine.start_worker()
    until("the engine is known", lambda: known(machine, 3))
    tell(folder, process=1, failed=6, c10=103)
    seen = until("what is new is known", lambda: window(machine))
    assert (seen.errors, seen.gaps.counts) == (1, {10: 3})


def test_an_engine_without_metrics_has_its_memory_and_nothing_else(worker: Machine) -> None:
    worker.serving()
    found = until("its memory is known", lambda: engine(worker))
    assert found == EngineLoad(replica_id="r1", at=found.at, memory_mib=found.memory_mib)
    assert found.memory_mib
    worker.stop_replica()
    until("it is listed no longer", lambda: engine(worker) is None)


def test_a_hung_engine_keeps_what_it_said_last_with_its_time_and_holds_nobody_up(worker: Machine) -> None:
    folder = worker.root / "told"
    folder.mkdir()
    (folder / "metrics").write_text(TEXT)
    tell(folder, process=1, failed=0)
    replica = worker.serving(told_directory=str(folder))
    worker.serving("r2")
    until("both are known", lambda: engine(worker) and engine(worker, "r2"))
    processes.send(identity_of(replica), signal.SIGSTOP)
    stopped_at = datetime.now(UTC)

    def behind() -> bool:
        found = engine(worker)
        return found is not None and datetime.now(UTC) - found.at > timedelta(seconds=3)

    until("it falls behind", behind)
    last = engine(worker)
    assert last is not None
    assert last.running == 3
    assert last.at <= stopped_at + timedelta(seconds=2)
    processes.send(identity_of(replica), signal.SIGCONT)


def test_one_replica_is_told_and_an_unknown_one_is_404(worker: Machine) -> None:
    worker.serving()
    answer = worker.call("GET", "/v1/replicas/r1")
    assert (answer.status_code, answer.json()["state"], answer.json()["replica_id"]) == (200, "serving", "r1")
    assert answer.json()["phases"]
    assert worker.call("GET", "/v1/replicas/r9").status_code == 404
    assert worker.call("GET", "/v1/replicas/..%2Fr1").status_code == 404


@pytest.mark.parametrize("query", [{}, {"key": "a/b"}, {"key": "a/b", "since": "soon"}, {"since": "2026-01-01T00:00:00Z"}])
def test_windows_without_their_words_are_refused(worker: Machine, query: dict[str, str]) -> None:
    assert worker.call("GET", "/v1/gateway/windows", **query).status_code == 400
