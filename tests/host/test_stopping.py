"""A stop that comes in the middle of something else: while the replica writes its record down, or when that cannot be written."""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any, cast
from unittest import mock

import pytest

from fleetform import settings as fleetform_settings
from fleetform.domain.protocol import PROTOCOL_VERSION, CommandRequest, CommandResult, HostReplicaState, StopReplica
from fleetform.domain.replica import FailureReason
from fleetform.host.board import Board
from fleetform.host.commands import Commands
from fleetform.host.fence import Fence
from fleetform.host.layout import Layout
from fleetform.host.ledger import Ledger
from fleetform.host.parts import Artifacts, Host
from fleetform.host.pool.pool import WarmPool
from fleetform.host.record import ReplicaRecord, load_all, save
from fleetform.host.replica import Replica
from fleetform.host.replicas import Replicas
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
    return Host(layout, board, ledger, cast(Artifacts, Fetching()), mock.Mock(), WarmPool(layout, board, ledger, 60))


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
        broken.setattr("fleetform.host.replica.save", full)
        with pytest.raises(OSError, match="no space left"):
            await replica.stop(STOP)
    assert not replica.stopping
    assert host.board.replicas["r1"].state is S.FETCHING
    await replica.stop(STOP)
    await ended(replica)


async def test_a_life_that_cannot_be_written_down_goes_on_when_it_can(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = iter([True] * 3)

    def save_when_there_is_room(layout: Layout, record: ReplicaRecord) -> None:
        if next(refusals, False):
            raise OSError("no space left")
        save(layout, record)

    monkeypatch.setattr("fleetform.host.replica.save", save_when_there_is_room)
    monkeypatch.setattr("fleetform.host.replica.RECORD_RETRY_S", 0.01)
    replica = Replica(host, a_record())
    replica.begin()
    await ended(replica)
    assert replica.record.failure is FailureReason.LAUNCH_REFUSED
    assert replica.record.message == "the host could not go on: OSError"


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
