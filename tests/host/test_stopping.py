"""A stop that comes in the middle of something else: while the replica writes its record down, or when that cannot be written."""

import asyncio
import errno
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, cast
from unittest import mock

import msgspec
import pytest

from fleetform import settings as fleetform_settings
from fleetform.domain.protocol import PROTOCOL_VERSION, CommandRequest, CommandResult, HostReplicaState, StopReplica
from fleetform.domain.replica import FailureReason, Unix
from fleetform.host import processes, records
from fleetform.host.board import Board
from fleetform.host.commands import Commands
from fleetform.host.fence import Fence
from fleetform.host.launcher import launch
from fleetform.host.layout import Layout
from fleetform.host.ledger import Ledger
from fleetform.host.parts import Artifacts, Host
from fleetform.host.pool.pool import WarmPool
from fleetform.host.processes import Identity
from fleetform.host.record import ReplicaRecord, domain_identity, load_all, save, utc_now
from fleetform.host.replica import Replica
from fleetform.host.replicas import Replicas
from fleetform.host.snapshots.snapshots import Snapshots
from fleetform.host.zygote.trust import Trust
from tests.builders import a_host, a_start_command

pytestmark = pytest.mark.anyio
S = HostReplicaState
STOP = StopReplica(replica_id="r1", drain_timeout_s=0)
OVERTAKES_S = 0.3
"""What a stop that overtakes a write needs for it."""
GIVES_UP_S = 20.0


class Fetching:
    """A cache whose transfers never end."""

    async def ensure(self, *what: object, **how: object) -> Path:
        await asyncio.Event().wait()
        raise AssertionError("nobody ends this")

    def pin(self, digest: str, holder: str) -> None:
        pass

    def unpin(self, digest: str, holder: str) -> None:
        pass


class SlowDisk:
    """`os.fsync` whose first caller is held until it is let go, or another thread has come as far; that one then waits for the first."""

    def __init__(self) -> None:
        self.reached, self.may_go, self.first_is_done = threading.Event(), threading.Event(), threading.Event()
        self._fsync = os.fsync
        self._first: int | None = None

    def __call__(self, descriptor: int) -> None:
        mine = threading.get_ident()
        if self._first is None:
            self._first = mine
            self.reached.set()
            self.may_go.wait(GIVES_UP_S)
        elif mine == self._first:
            self.first_is_done.set()  # the directory's turn: the file has its name
        elif not self.first_is_done.is_set():
            self.may_go.set()
            self.first_is_done.wait(GIVES_UP_S)
        self._fsync(descriptor)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    layout = Layout(fleetform_settings.load({"FLEETFORM_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}))
    board, ledger = Board(a_host()), Ledger(a_host(), None)
    return Host(
        layout,
        board,
        ledger,
        cast(Artifacts, Fetching()),
        mock.Mock(taken=mock.AsyncMock()),
        WarmPool(layout, board, ledger, 60),
        Snapshots(layout, board, "", 0, 60),
        Trust(layout.trust),
    )


def a_record() -> ReplicaRecord:
    return ReplicaRecord(start=a_start_command("r1"))


async def ended(replica: Replica) -> None:
    """Return once it has exited, in memory, on the board and on disk."""
    assert replica.task is not None
    await asyncio.wait_for(asyncio.shield(replica.task), GIVES_UP_S)
    assert replica.host.board.replicas["r1"].state is S.EXITED
    assert [record.state for record in load_all(replica.host.layout)] == [S.EXITED]


async def test_a_stop_that_comes_while_the_record_is_written_ends_the_replica(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk()
    monkeypatch.setattr(os, "fsync", disk)
    replica = Replica(host, a_record())
    replica.begin()
    await asyncio.to_thread(disk.reached.wait, GIVES_UP_S)
    stopping = asyncio.create_task(replica.stop(STOP))
    await asyncio.wait({stopping}, timeout=OVERTAKES_S)
    disk.may_go.set()
    await stopping
    await ended(replica)


async def test_a_stop_that_cannot_be_written_down_is_not_begun_and_may_be_sent_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    replica = Replica(host, a_record())
    replica.begin()
    full = mock.Mock(side_effect=OSError("no space left"))
    with monkeypatch.context() as broken:
        broken.setattr("fleetform.host.recorded.save", full)
        with pytest.raises(OSError, match="no space left"):
            await replica.stop(STOP)
    assert not replica.stopping
    assert host.board.replicas["r1"].state is S.FETCHING
    await replica.stop(STOP)
    await ended(replica)


def full_for(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So often the disk takes nothing."""
    refusals = iter([True] * times)

    def save_when_there_is_room(layout: Layout, record: ReplicaRecord) -> None:
        if next(refusals, False):
            raise OSError(errno.ENOSPC, "No space left on device")
        save(layout, record)

    monkeypatch.setattr("fleetform.host.recorded.save", save_when_there_is_room)
    monkeypatch.setattr("fleetform.host.replica.RETRY_S", 0.01)


def says(log: Path, text: str) -> bool:
    return log.read_text() == text


async def reached(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(GIVES_UP_S):
        while not holds():  # what is waited for is a state, of which nobody tells
            await asyncio.sleep(0.01)


async def test_a_life_that_cannot_be_written_down_goes_on_when_it_can(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    full_for(3, monkeypatch)
    replica = Replica(host, a_record())
    replica.begin()
    await reached(lambda: any(record.phases for record in load_all(host.layout)))
    assert (replica.record.failure, replica.record.phases[-1].name) == (None, "fetch")
    await replica.stop(STOP)
    await ended(replica)


async def test_a_start_that_never_gets_on_fails_when_its_time_is_over(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    full_for(3, monkeypatch)
    command = msgspec.structs.replace(a_start_command("r1"), start_timeout_s=0)
    replica = Replica(host, ReplicaRecord(start=command))
    replica.begin()
    await ended(replica)
    assert replica.record.failure is FailureReason.LAUNCH_REFUSED
    assert replica.record.message == "the host could not go on: No space left on device"


def that_serves(host: Host, tmp_path: Path) -> tuple[Identity, ReplicaRecord]:
    """A process, and the record of the replica whose engine it is."""
    work = records.private_directory(host.layout.work("r1"))
    leader = launch(["/bin/sleep", "600"], {}, work, tmp_path / "log", lambda identity: None)
    (tmp_path / "socket").touch()
    serving = msgspec.structs.replace(
        a_record(), state=S.SERVING, address=Unix(path=str(tmp_path / "socket")), process=domain_identity(leader)
    )
    return leader, serving


@pytest.mark.parametrize("where", ["fleetform.host.losing.lost", "fleetform.host.ending.clean"])
async def test_a_lack_of_threads_ends_no_engine_that_serves_and_keeps_none_from_its_end(
    where: str, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, serving = that_serves(host, tmp_path)
    real, refusals = resolve_name(where), [True] * 3

    def scarce(*what: Any) -> Any:
        if refusals:
            refusals.pop()
            raise RuntimeError("can't start new thread")
        return real(*what)

    monkeypatch.setattr(where, scarce)
    monkeypatch.setattr("fleetform.host.replica.RETRY_S", 0.01)
    monkeypatch.setattr("fleetform.host.exits.NOTE_WAIT_S", 0.1)
    replica = Replica(host, serving)
    replica.begin()
    if where.endswith("lost"):
        await reached(lambda: not refusals)
        assert (replica.record.state, replica.record.failure) == (S.SERVING, None)
        assert processes.alive(leader)
    processes.send(leader, signal.SIGKILL)
    await ended(replica)
    assert replica.record.failure is FailureReason.CRASHED
    assert not refusals


async def test_a_lack_of_descriptors_ends_no_engine_that_serves(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leader, serving = that_serves(host, tmp_path)
    real, refusals = os.pidfd_open, iter([True] * 3)

    def scarce(pid: int) -> int:
        if next(refusals, False):
            raise OSError(errno.EMFILE, "Too many open files")
        return real(pid)

    monkeypatch.setattr(os, "pidfd_open", scarce)
    monkeypatch.setattr("fleetform.host.replica.RETRY_S", 0.01)
    monkeypatch.setattr("fleetform.host.exits.NOTE_WAIT_S", 0.1)
    replica = Replica(host, serving)
    replica.begin()
    await reached(lambda: not next(refusals, False))
    await asyncio.wait({cast("asyncio.Task[None]", replica.task)}, timeout=OVERTAKES_S)
    assert (replica.record.state, replica.record.failure) == (S.SERVING, None)
    assert processes.alive(leader)
    processes.send(leader, signal.SIGKILL)
    await ended(replica)
    assert replica.record.failure is FailureReason.CRASHED


async def test_who_stops_everything_waits_for_no_drain_that_has_begun(host: Host) -> None:
    draining = msgspec.structs.replace(a_record(), state=S.STOPPING, drain_until=utc_now() + timedelta(hours=1))
    host.proxy.in_flight = mock.AsyncMock(return_value={"r1": 1})  # type: ignore[method-assign]  # a mock
    save(host.layout, draining)
    replicas = Replicas(host)
    replicas.adopt()
    await asyncio.wait_for(replicas.stop_all(), GIVES_UP_S)
    await ended(replicas.replicas["r1"])
    await replicas.let_go()
    await host.pool.end_all()


def out_of_rotation(replicas: Replicas) -> set[str]:
    """As the proxy is told at the next occasion."""
    replicas.eject({})
    take_out = cast("mock.Mock", replicas.host.proxy.take_out)
    return set(take_out.call_args.args[0])


async def test_what_starts_after_everything_was_stopped_is_given_requests(host: Host) -> None:
    """Whoever interrupts `fleetform down` and goes on has the same worker."""
    save(host.layout, a_record())
    replicas = Replicas(host)
    replicas.adopt()
    await asyncio.wait_for(replicas.stop_all(), GIVES_UP_S)
    await replicas.start(a_start_command("r2"))
    assert out_of_rotation(replicas) == {"r1"}
    await replicas.let_go()


async def test_what_cannot_be_stopped_with_all_others_is_given_requests_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    save(host.layout, a_record())
    replicas = Replicas(host)
    replicas.adopt()
    with monkeypatch.context() as broken:
        broken.setattr("fleetform.host.recorded.save", mock.Mock(side_effect=OSError("no space left")))
        with pytest.raises(OSError, match="no space left"):
            await asyncio.wait_for(replicas.stop_all(), GIVES_UP_S)
    take_out = cast("mock.Mock", host.proxy.take_out)
    assert [set(call.args[0]) for call in take_out.call_args_list] == [{"r1"}, set()]
    await replicas.let_go()


async def test_of_two_stops_that_come_at_once_one_is_done(host: Host) -> None:
    replica = Replica(host, a_record())
    replica.begin()
    with mock.patch.object(replica, "begin", wraps=replica.begin) as begin:
        await asyncio.gather(replica.stop(STOP), replica.stop(STOP))
    assert begin.call_count == 1
    await ended(replica)


async def test_many_ends_that_take_their_time_keep_nobody_from_writing(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio has as many threads as the machine has cores, and four; as many engines here do not care that they are to end."""
    monkeypatch.setattr("fleetform.host.replica.KILL_AFTER_S", GIVES_UP_S)
    obstinate = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
    replicas = []
    for number in range((os.cpu_count() or 1) + 5):
        name = f"r{number}"
        work, log = records.private_directory(host.layout.work(name)), tmp_path / f"{name}.log"
        leader = launch([sys.executable, "-S", "-c", obstinate], {}, work, log, lambda identity: None)
        await reached(functools.partial(says, log, "ready\n"))
        ending = ReplicaRecord(start=a_start_command(name), state=S.STOPPING, drain_until=utc_now(), process=domain_identity(leader))
        replicas.append(Replica(host, ending))
    try:
        for replica in replicas:
            replica.begin()
        await asyncio.wait([task for replica in replicas if (task := replica.task)], timeout=OVERTAKES_S)
        await asyncio.wait_for(asyncio.to_thread(save, host.layout, a_record()), GIVES_UP_S / 4)
    finally:
        for replica in replicas:
            assert replica.record.identity is not None
            processes.send(replica.record.identity, signal.SIGKILL)
        await asyncio.gather(*(task for replica in replicas if (task := replica.task)))


async def test_a_stop_is_done_again_when_nothing_of_it_is_left(host: Host) -> None:
    def commands(replicas: Replicas) -> Commands:
        unasked: Any = mock.Mock()
        return Commands(Fence(host.layout), host.board, replicas, unasked, unasked)

    async def stopped(replicas: Replicas) -> CommandResult:
        request = CommandRequest(protocol_version=PROTOCOL_VERSION, epoch=1, command_id="stop-r1", command=STOP)
        result = await commands(replicas).run(request)
        assert isinstance(result, CommandResult)
        await ended(replicas.replicas["r1"])
        return result

    async def adopted(record: ReplicaRecord) -> Replicas:
        save(host.layout, record)
        replicas = Replicas(host)
        replicas.adopt()
        return replicas

    first = await adopted(a_record())
    assert not (await stopped(first)).repeated
    await first.let_go()
    # The record is an older one: a backup was put back.
    second = await adopted(a_record())
    assert not (await stopped(second)).repeated
    assert (await stopped(second)).repeated
    await second.let_go()
