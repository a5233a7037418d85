"""When a replica may be ended: what the proxy says decides; and why it ended: what the kernel counted decides."""

import asyncio
import contextlib
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest

from fleetform.domain.machine import Shape
from fleetform.domain.protocol import HostReplicaState, StartReplica
from fleetform.domain.rollout import Track
from fleetform.host import ending, logs, oom
from fleetform.host.record import ReplicaRecord, utc_now
from tests.builders import a_manifest
from tests.faults.small_disks import tmpfs


class Proxy:
    """A proxy that says what it is told to; None: it does not answer."""

    def __init__(self, *counts: int | None, is_alive: bool = True) -> None:
        self.counts = list(counts)
        self.is_alive = is_alive
        self.asked = 0

    async def in_flight(self, key: str, replica_ids: Iterable[str]) -> dict[str, int]:
        assert key == "acme/chat"
        self.asked += 1
        count = self.counts.pop(0) if len(self.counts) > 1 else self.counts[0]
        if count is None:
            raise ConnectionRefusedError
        return dict.fromkeys(replica_ids, count)

    def alive(self) -> bool:
        return self.is_alive

    def take_out(self, replica_ids: frozenset[str]) -> None:
        raise AssertionError("who drains takes nothing out")

    async def taken(self, limit_s: float) -> None:
        raise AssertionError("who drains takes nothing out")


def a_record(drain_timeout_s: float) -> ReplicaRecord:
    track = Track(
        track_id="v1.0",
        variant="v1",
        model_version="m:v1",
        artifact="file:///m/",
        manifest=a_manifest(),
        engine="vllm",
        instance_type="cpu-small",
        shape=Shape(cpu_millis=500, memory_mib=512),
    )
    start = StartReplica(
        replica_id="r1",
        project="acme",
        endpoint="chat",
        generation=1,
        nonce="n",
        served_name="chat",
        track=track,
        prefixes=(),
        members=(),
        start_timeout_s=60,
        request_timeout_s=60,
    )
    return ReplicaRecord(start=start, state=HostReplicaState.STOPPING, drain_until=utc_now() + timedelta(seconds=drain_timeout_s))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "DRAIN_POLL_S", 0.01)


@pytest.mark.anyio
async def test_it_waits_until_nothing_is_under_way_twice() -> None:
    proxy = Proxy(2, 1, 0, 1, 0, 0)
    await ending.drained(proxy, a_record(60))
    assert proxy.asked == 6


@pytest.mark.anyio
@pytest.mark.parametrize("counts", [(1,), (None,)])
async def test_it_waits_no_longer_than_it_may(counts: tuple[int | None, ...]) -> None:
    began = asyncio.get_running_loop().time()
    await ending.drained(Proxy(*counts), a_record(0.2))
    assert 0.15 < asyncio.get_running_loop().time() - began < 5


@pytest.mark.anyio
async def test_a_dead_proxy_holds_nothing() -> None:
    await ending.drained(Proxy(None, is_alive=False), a_record(60))


@pytest.mark.anyio
async def test_a_proxy_that_has_not_come_back_to_a_new_worker_is_waited_for_all_the_same() -> None:
    proxy = Proxy(2, 0, 0, is_alive=False)
    await ending.drained(proxy, a_record(60))
    assert proxy.asked == 3


@pytest.mark.anyio
@pytest.mark.parametrize("hours", [1, -1])
async def test_a_clock_that_is_set_neither_cuts_what_is_under_way_nor_holds_the_end_up(hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    record, clocks = a_record(0.5), iter([utc_now()])
    monkeypatch.setattr(ending, "utc_now", lambda: next(clocks, utc_now() + timedelta(hours=hours)))
    began = asyncio.get_running_loop().time()
    await ending.drained(Proxy(1), record)
    assert 0.4 < asyncio.get_running_loop().time() - began < 5


@pytest.mark.parametrize(
    ("before", "now", "signal", "code", "tail", "expected"),
    [
        (1, 2, 9, 137, (), True),
        (1, 2, 0, 137, (), True),
        (1, 2, 0, 1, ("EngineDeadError: EngineCore encountered an issue",), True),
        (1, 2, 0, 1, ("ValueError: bad weights",), False),
        (2, 2, 9, 137, (), False),
        (None, 2, 9, 137, (), False),
        (1, None, 9, 137, (), False),
    ],
)
def test_exit_137_alone_is_no_evidence_of_too_little_memory(
    before: int | None, now: int | None, signal: int, code: int, tail: tuple[str, ...], expected: bool
) -> None:
    assert oom.is_evidence(before, now, signal, code, tail) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("low 0\noom 3\noom_kill 2\n", 2), ("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", 7), ("pgfault 1\n", None)],
)
def test_the_kernels_counter_is_read(tmp_path: Path, text: str, expected: int | None) -> None:
    counter = tmp_path / "memory.events"
    counter.write_text(text)
    assert oom.kills((tmp_path / "missing", counter)) == expected


def test_the_counter_of_the_root_of_all_groups_is_passed_over(tmp_path: Path) -> None:
    """An engine that an operator has put into a group of its own is counted there, and on the machine, but not at the root."""
    root, machine = tmp_path / "memory.oom_control", tmp_path / "machine" / "vmstat"
    machine.parent.mkdir()
    root.write_text("oom_kill 0\n")
    machine.write_text("oom_kill 3\n")
    assert oom.kills((root, machine)) == 0
    (tmp_path / "release_agent").touch()
    assert oom.kills((root, machine)) == 3


def test_a_log_that_has_filled_its_disk_is_cut(tmp_path: Path) -> None:
    """There is no room for a copy of its end; uncut, it would keep the disk full, and whatever else writes there from going on."""
    with tmpfs(tmp_path / "disk", 1) as disk:
        log = disk / "log"
        logs.rotated(log).write_bytes(b"x" * 256 * 1024)
        with contextlib.suppress(OSError), log.open("ab", buffering=0) as writer:
            while True:
                writer.write(b"x" * 4095 + b"\n")
        logs.rotate(log, 512 * 1024)
        assert log.stat().st_size == 0
        assert logs.tail(log, 1) != (), "what there was room for is kept"
        (disk / "record").write_bytes(b"x" * 100_000)


def test_a_log_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    assert logs.last_words(tmp_path / "log", 50) == ()


def test_frames_of_tracebacks_do_not_push_out_what_was_said(tmp_path: Path) -> None:
    log = tmp_path / "log"
    frames = [
        line
        for number in range(60)
        for line in (
            f'(EngineCore pid=1) ERROR [core.py:1]   File "/x/core.py", line {number}, in run',
            "(EngineCore pid=1) ERROR [core.py:1]     self.step()",
            "(EngineCore pid=1) ERROR [core.py:1]     ^^^^^^^^^^^",
        )
    ]
    log.write_text("\n".join(["RuntimeError: the cause", *frames, "INFO: Shutting down"]) + "\n")
    assert logs.last_words(log, 50) == ("RuntimeError: the cause",)


def test_what_an_engine_says_while_all_is_well_does_not_hide_why_it_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        """\
(APIServer pid=7) INFO 11-26 11:14:41 [model.py:733] Resolved architecture: LlamaForCausalLM
/x/dispatcher.py:138: FutureWarning: `reduce_op` is deprecated
  if hasattr(value, "__dict__"):
[W1126 11:14:42.441 utils.cpp:68] Warning: NUMA binding: Using MEMBIND policy

Loading safetensors checkpoint shards:   0% Completed | 0/1 [00:00<?, ?it/s]
(Worker pid=9) WARNING 11-26 11:14:42 [cpu_worker.py:114] libtcmalloc is not found
(Worker pid=9) ERROR 11-26 11:14:43 [executor.py:953] WorkerProc failed to start.
(Worker pid=9) ERROR 11-26 11:14:43 [executor.py:953] Traceback (most recent call last):
(Worker pid=9) ERROR 11-26 11:14:43 [executor.py:953] RuntimeError: length (512) exceeds dimension size (256).
(EngineCore pid=8) INFO 11-26 11:14:43 [executor.py:479] [shutdown] waiting for worker exit
"""
    )
    assert [line.partition("] ")[2] for line in logs.last_words(log, 50)] == [
        "WorkerProc failed to start.",
        "RuntimeError: length (512) exceeds dimension size (256).",
    ]


def test_of_an_engine_that_was_killed_while_all_was_well_a_few_lines_are_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"INFO: Route: /v1/{number}\n" for number in range(100)))
    assert logs.last_words(log, 50) == tuple(f"INFO: Route: /v1/{number}" for number in range(90, 100))


@pytest.mark.parametrize("unit", ["a.", "eyJaaaaaaaa-", "token: ", "cd-"])
def test_no_line_of_an_engine_keeps_the_worker_busy(tmp_path: Path, unit: str) -> None:
    log = tmp_path / "log"
    log.write_text(f"first\n{unit * (100_000 // len(unit))}\npostgresql://user:password@host {'x' * 50}postgresql://user:password@host\n")
    began = time.process_time()
    found = logs.last_words(log, 50)
    assert time.process_time() - began < 2
    assert found[0] == "first"
    assert "password" not in found[-1]
