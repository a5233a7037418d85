"""What a worker does again and again: no failure ends it, and none of one thing keeps it from the others."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from unittest import mock

import pytest

from fleetform import settings as fleetform_settings
from fleetform.domain.protocol import ForgetReplica, HostReplicaState
from fleetform.host import guard, healing, launcher, logs, processes, records, replicas, worker
from fleetform.host.board import Board
from fleetform.host.fence import Fence
from fleetform.host.healing import Healing
from fleetform.host.layout import Layout
from fleetform.host.ledger import Ledger
from fleetform.host.parts import Artifacts, Host
from fleetform.host.pool.pool import WarmPool
from fleetform.host.processes import Identity
from fleetform.host.record import ReplicaRecord, domain_identity, save
from fleetform.host.replicas import Replicas
from fleetform.host.snapshots.snapshots import Snapshots
from fleetform.host.vitals import Vital
from fleetform.host.zygote.trust import Trust
from tests.builders import a_host, a_start_command

pytestmark = pytest.mark.anyio
S = HostReplicaState
GIVES_UP_S = 10.0


async def reached(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(GIVES_UP_S):
        while not holds():  # what is waited for is a state, of which nobody tells
            await asyncio.sleep(0.01)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(fleetform_settings.load({"FLEETFORM_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path)}))


@pytest.fixture
def host(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Host:
    for name in ("LOG_CHECK_S", "DEVICE_CHECK_S", "IN_FLIGHT_POLL_S"):
        monkeypatch.setattr(replicas, name, 0.01)
    board, ledger = Board(a_host()), Ledger(a_host(), None)
    pool, snapshots = WarmPool(layout, board, ledger, 60), Snapshots(layout, board, "", 0, 60)
    return Host(layout, board, ledger, cast(Artifacts, mock.Mock()), mock.Mock(), pool, snapshots, Trust(layout.trust))


async def test_a_failure_ends_no_care(host: Host) -> None:
    """A driver that is split by MIG, a proxy that answers nonsense, a folder that is not there for a moment."""
    recover = mock.AsyncMock(side_effect=[RuntimeError("odd"), *[True] * 1000])
    in_flight = mock.AsyncMock(side_effect=[AttributeError("odd"), *[{"r1": 3}] * 1000])
    host.proxy.in_flight = in_flight  # type: ignore[method-assign]  # a mock
    record = ReplicaRecord(start=a_start_command("r1"), state=S.STOPPING)
    with (
        mock.patch.object(host.ledger, "recover", recover),
        mock.patch.object(logs, "rotate", side_effect=[RuntimeError("odd"), *[False] * 1000]) as rotate,
        mock.patch("fleetform.host.replica.Replica.begin"),
    ):
        save(host.layout, record)
        host.layout.log("r1").touch()
        found = Replicas(host)
        found.adopt()
        await reached(lambda: recover.call_count > 2 and rotate.call_count > 2 and found.in_flight == {"r1": 3})
        await found.let_go()
    await host.pool.end_all()


async def test_a_log_that_cannot_be_cut_keeps_no_old_one(host: Host) -> None:
    newest, old = host.layout.log("newest"), host.layout.log("old")
    newest.write_bytes(b"x" * (logs.LIMIT_BYTES + 1))
    logs.rotated(newest).mkdir()  # where the older lines would go
    old.touch()
    os.utime(old, (0, 0))
    found = Replicas(host)
    found.adopt()
    await reached(lambda: not old.exists())
    await found.let_go()


@pytest.mark.parametrize("kept", ["{}", '{"host": 7, "idle_mib": [1]}', '{"idle_mib": {"GPU-1": "x"}}', "["])
async def test_neither_a_full_disk_nor_an_odd_record_keeps_a_worker_from_starting(kept: str, tmp_path: Path, layout: Layout) -> None:
    settings = fleetform_settings.load({"FLEETFORM_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path)})
    layout.devices.write_text(kept)
    layout.epoch.write_text('{"epoch": "odd"}')
    with mock.patch.object(records, "write_json", side_effect=OSError("No space left on device")):
        found = await worker._discover(settings, layout)
    assert found.capacity.cpu_millis > 0
    assert layout.devices.read_text() == kept
    assert Fence(layout).epoch == 0


async def test_a_copy_of_a_record_is_no_other_replica(host: Host) -> None:
    """Two lives of one replica would each start, stop and clean up what the other runs."""
    record = ReplicaRecord(start=a_start_command("r1"), state=S.STOPPING)
    save(host.layout, record)
    original = host.layout.record("r1")
    original.with_name("r1 copy.json").write_bytes(original.read_bytes())
    original.with_name("r0.json").write_bytes(original.read_bytes())
    found = Replicas(host)
    with mock.patch("fleetform.host.replica.Replica.begin", autospec=True) as begin:
        found.adopt()
    assert [call.args[0].record.replica_id for call in begin.call_args_list] == ["r1"]
    await found.let_go()


async def test_a_replica_whose_record_cannot_be_removed_is_known_until_it_can(host: Host) -> None:
    save(host.layout, ReplicaRecord(start=a_start_command("r1"), state=S.EXITED))
    found = Replicas(host)
    found.adopt()
    with mock.patch.object(records, "remove", side_effect=OSError("read-only")), pytest.raises(OSError, match="read-only"):
        await found.forget(ForgetReplica(replica_id="r1"))
    assert found.knows("r1")
    assert await found.forget(ForgetReplica(replica_id="r1")) == "forgotten"
    assert not host.layout.record("r1").exists()
    assert "r1" not in host.board.replicas
    await found.let_go()


async def test_one_engine_that_cannot_be_looked_at_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    me = processes.identify(os.getpid())
    assert me is not None
    serving = [
        mock.Mock(record=ReplicaRecord(start=a_start_command(name), state=S.SERVING, process=domain_identity(me))) for name in ("r1", "r2")
    ]
    looked: list[str] = []

    def look(patient: Any, vital: Vital, in_flight: int | None) -> None:
        looked.append(patient.replica.record.replica_id)
        if looked[-1] == "r1":
            raise OSError("no space left")

    monkeypatch.setattr(healing._Patient, "look", look)
    monkeypatch.setattr(healing, "LOOK_S", 0.01)
    rounds = Healing(mock.Mock(serving=lambda: serving, set_out=mock.AsyncMock()), lambda replica_id: 0)
    rounds.start()
    await reached(lambda: looked.count("r2") > 1)
    await rounds.stop()


async def test_whatever_goes_wrong_the_supervisor_is_brought_back_and_its_dead_are_collected(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First its record cannot be read; then it ends at once, again and again."""
    monkeypatch.setattr(guard, "LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr(guard, "BACK_OFF_MAX_S", 0.05)
    begun: list[Identity] = []

    def launch(*what: Any, **how: Any) -> Identity:
        begun.append(real(*what, **how))
        return begun[-1]

    real = launcher.launch
    monkeypatch.setattr(guard, "launch", launch)
    layout.supervisor_log.parent.mkdir(parents=True, exist_ok=True)
    layout.supervisor.mkdir()
    keeping = asyncio.create_task(guard.keep_supervisor(layout))
    await asyncio.wait({keeping}, timeout=0.1)
    layout.supervisor.rmdir()
    me = processes.identify(os.getpid())
    assert me is not None
    dead = me._replace(start_ticks=me.start_ticks + 1)
    records.write_json(layout.supervisor, {"identity": dead._asdict(), "argv": ["/bin/true"], "cwd": "/"})
    await reached(lambda: len(begun) >= 3)
    layout.supervisor.unlink()
    await reached(lambda: all(processes.read_stat(each.pid) is None for each in begun))
    assert not keeping.done()
    keeping.cancel()
    await asyncio.wait({keeping})
