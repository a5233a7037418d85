"""Engines on disk until the same is asked for again: put there, taken from there, thrown away, and never mistaken for another."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from fleetform.domain.machine import EngineSpec
from fleetform.domain.protocol import HostReplicaState, StartReplica
from fleetform.host import processes, records
from fleetform.host.memory import memory_mib
from fleetform.steps import VARIABLE, Step
from tests.harness.waiting import until
from tests.host.icy import IcyMachine
from tests.host.machine import STUB_ARGV, identity_of
from tests.host.warm import ONE, phases, worker_of

S = HostReplicaState


def test_the_same_start_takes_the_engine_from_disk(icy: IcyMachine) -> None:
    before = icy.serves("r1", children=1)
    frozen = icy.freezes("r1")
    assert (frozen.engine_id, frozen.endpoint_uid, frozen.memory_mib) == ("r1", "uid-chat", 0)
    assert frozen.disk_mib > 0
    assert processes.group(identity_of(before), icy.root).ours == ()
    assert icy.told() == f"1 on disk, {frozen.disk_mib} of 10000 MiB"
    after = icy.serves("r2")
    assert phases(after) == ["restore", "canary"]
    assert after.address == before.address
    assert icy.ask(after).json()["choices"][0]["message"]["content"].startswith("n-r1"), "it answers as the engine that it is"
    assert "asked to forget" in icy.log_lines("r2"), "its log is its engine's"
    assert icy.sleeping() == ()
    assert icy.on_disk() == []


def test_an_engine_goes_to_disk_again_and_is_ended_under_the_name_it_was_launched_with(icy: IcyMachine) -> None:
    icy.serves("r1")
    icy.freezes("r1")
    icy.serves("r2")
    assert icy.freezes("r2").engine_id == "r1"
    last = icy.serves("r3")
    icy.stop_replica("r3")
    assert icy.await_state(S.EXITED, "r3").failure is None
    assert not processes.alive(identity_of(last))
    assert not Path(getattr(last.address, "path", "")).exists()
    assert not (icy.settings.home / "host" / "replicas" / "r1.d").exists()
    assert icy.on_disk() == []


def test_what_lies_there_is_for_this_user_alone(icy: IcyMachine) -> None:
    icy.serves("r1")
    icy.freezes("r1")
    found = [icy.folder("r1"), *icy.folder("r1").rglob("*")]
    assert len(found) > 4
    assert {oct(path.stat().st_mode & 0o777) for path in found if path.is_dir()} == {"0o700"}
    assert {oct(path.stat().st_mode & 0o777) for path in found if path.is_file()} == {"0o600"}


def test_a_stop_that_is_not_to_be_kept_ends_the_engine(icy: IcyMachine) -> None:
    leader = identity_of(icy.serves("r1"))
    icy.stop_replica("r1")
    icy.await_state(S.EXITED, "r1")
    assert not processes.alive(leader)
    assert icy.sleeping() == ()
    assert icy.on_disk() == []


@pytest.mark.parametrize("how", ["no-restore", "ends-restoring", "another", "dumb"])
def test_an_engine_that_does_not_come_back_as_it_was_is_ended_and_the_start_is_a_cold_one(icy: IcyMachine, how: str) -> None:
    icy.serves("r1", children=1)
    icy.freezes("r1")
    icy.goes_wrong(how)
    after = icy.serves("r2")
    assert "an engine on disk was not restored" in after.message
    assert phases(after)[:2] == ["restore", "fetch"]
    assert icy.ask(after).json()["choices"][0]["message"]["content"].startswith("n-r2")
    assert stubs(icy) == {member.pid for member in processes.group(identity_of(after), icy.root).ours}
    assert icy.sleeping() == ()
    assert icy.on_disk() == []
    assert not (icy.settings.home / "host" / "replicas" / "r1.d").exists()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("spoil", [flip, Path.unlink], ids=["flipped", "missing"])
def test_an_image_that_is_not_what_was_written_is_not_restored(icy: IcyMachine, spoil: Callable[[Path], None]) -> None:
    icy.serves("r1")
    icy.freezes("r1")
    spoil(icy.folder("r1") / "images" / "pages-1.img")
    after = icy.serves("r2")
    assert "its image is not what was written: pages-1.img" in after.message
    assert icy.ask(after).json()["choices"][0]["message"]["content"].startswith("n-r2")
    assert len(stubs(icy)) == 1
    assert icy.on_disk() == []


@pytest.mark.parametrize(("how", "sleep_mode"), [("no-dump", "sleep"), ("ends-dumping", "sleep"), ("", "no-forget")])
def test_an_engine_that_cannot_be_put_on_disk_is_ended(icy: IcyMachine, how: str, sleep_mode: str) -> None:
    leader = identity_of(icy.serves("r1", children=1, sleep_mode=sleep_mode))
    icy.goes_wrong(how)
    icy.stop_replica("r1", keep_warm=True)
    assert icy.await_state(S.EXITED, "r1").failure is None
    assert "engine_not_on_disk" in icy.log.read_text()
    assert processes.group(leader, icy.root).ours == ()
    assert icy.sleeping() == ()
    assert icy.on_disk() == []
    icy.goes_wrong("")
    assert "restore" not in phases(icy.serves("r2"))


def test_another_program_takes_nothing_from_disk(icy: IcyMachine) -> None:
    icy.serves("r1")
    icy.freezes("r1")
    icy.criu.write_text(icy.criu.read_text() + "# of another version\n")
    after = icy.serves("r2")
    assert "restore" not in phases(after)
    assert icy.on_disk() == []


def test_another_boot_takes_nothing_from_disk(icy: IcyMachine) -> None:
    icy.serves("r1")
    icy.freezes("r1")
    icy.kill(worker_of(icy))
    of_another_machine(icy)
    icy.start_worker()
    until("nothing lies there", lambda: icy.sleeping() == () and icy.on_disk() == [])
    assert "the machine is not what it was" in icy.log.read_text()
    assert "restore" not in phases(icy.serves("r2"))


def test_a_replica_that_has_claimed_an_engine_of_another_boot_starts_anew(still: IcyMachine) -> None:
    """The machine went down between the claim and the restore."""
    crash = still.root / "crash"
    still.variables[VARIABLE] = str(crash)
    still.start_worker()
    still.serves("r1")
    still.freezes("r1")
    crash.write_text(f"{Step.HOST_RECORD_SAVED}:2")
    with contextlib.suppress(httpx2.TransportError):
        still.begins("r2")
    until("the worker has died", lambda: not crash.exists() and not still.answers())
    of_another_machine(still)
    still.start_worker()
    after = still.await_state(S.SERVING, "r2")
    assert "the machine is not what it was" in after.message
    assert still.on_disk() == []


def of_another_machine(machine: IcyMachine) -> None:
    file = machine.folder("r1") / "record.json"
    kept = records.read_json(file)
    assert kept is not None
    records.write_json(file, kept | {"machine": "another"})


def test_nothing_is_put_on_disk_unless_it_is_asked_for(still: IcyMachine) -> None:
    del still.variables["FLEETFORM_SNAPSHOTS_MIB"]
    still.start_worker()
    still.serves("r1")
    still.stop_replica("r1", keep_warm=True)
    still.await_state(S.EXITED, "r1")
    assert still.told() == ""
    assert "asked to forget" not in still.engine_log("r1")
    assert still.sleeping() == ()


def test_a_machine_that_cannot_says_why(still: IcyMachine) -> None:
    still.goes_wrong("no-check")
    still.start_worker()
    assert still.told() == "off, criu cannot checkpoint here: Error (criu/vdso.c:381): vdso: unknown"
    assert "snapshots_off" in still.log.read_text()
    still.serves("r1")
    still.stop_replica("r1", keep_warm=True)
    still.await_state(S.EXITED, "r1")
    assert still.sleeping() == ()


def test_what_lay_there_is_removed_where_it_is_not_asked_for_any_more(icy: IcyMachine) -> None:
    icy.serves("r1")
    icy.freezes("r1")
    icy.kill(worker_of(icy))
    del icy.variables["FLEETFORM_SNAPSHOTS_MIB"]
    icy.start_worker()
    until("nothing lies there", lambda: icy.on_disk() == [])
    assert "restore" not in phases(icy.serves("r2"))


def test_the_one_that_has_lain_longest_makes_way(icy: IcyMachine) -> None:
    needs = memory_mib([identity_of(icy.serves("r1")).pid])
    assert needs is not None
    assert icy.freezes("r1").disk_mib > 20
    icy.kill(worker_of(icy))
    icy.variables["FLEETFORM_SNAPSHOTS_MIB"] = str(needs + 10)
    icy.start_worker()
    icy.serves("r2", like="r2")
    assert icy.freezes("r2").engine_id == "r2"
    assert icy.on_disk() == ["r2"]


def test_an_engine_that_is_larger_than_the_room_is_not_asked(still: IcyMachine) -> None:
    still.variables["FLEETFORM_SNAPSHOTS_MIB"] = "1"
    still.start_worker()
    still.serves("r1")
    still.stop_replica("r1", keep_warm=True)
    still.await_state(S.EXITED, "r1")
    assert "asked to forget" not in still.engine_log("r1")
    assert still.on_disk() == []


def test_nothing_lies_there_longer_than_the_limit(still: IcyMachine) -> None:
    still.variables["FLEETFORM_WARM_POOL_S"] = "1"
    still.start_worker()
    still.serves("r1")
    still.stop_replica("r1", keep_warm=True)
    still.await_state(S.EXITED, "r1")
    until("nothing lies there", lambda: still.sleeping() == () and still.on_disk() == [])


def test_what_is_not_wanted_any_more_is_removed(icy: IcyMachine) -> None:
    icy.serves("r1")
    icy.freezes("r1")
    icy.evict("r1", "unknown")
    assert icy.on_disk() == []
    assert not (icy.settings.home / "host" / "replicas" / "r1.d").exists()
    assert "restore" not in phases(icy.serves("r2"))


def test_down_removes_what_lies_there(icy: IcyMachine) -> None:
    icy.serves("r1")
    icy.freezes("r1")
    assert icy.call("POST", "/v1/shutdown").status_code == 204
    assert icy.on_disk() == []


def test_of_two_starts_one_takes_it(icy: IcyMachine) -> None:
    icy.serves("r1")
    icy.freezes("r1")
    for name in ("r2", "r3"):
        icy.begins(name)
    found = [phases(icy.await_state(S.SERVING, name))[0] for name in ("r2", "r3")]
    assert sorted(found) == ["fetch", "restore"]


def test_of_several_the_last_is_taken(icy: IcyMachine) -> None:
    for name in ("r1", "r2"):
        icy.serves(name)
    for name in ("r1", "r2"):
        icy.freezes(name)
    after = icy.serves("r3")
    assert icy.ask(after).json()["choices"][0]["message"]["content"].startswith("n-r2")
    assert icy.on_disk() == ["r1"]


def in_track(**fields: Any) -> Callable[[StartReplica], StartReplica]:
    return lambda start: msgspec.structs.replace(start, track=msgspec.structs.replace(start.track, **fields))


OTHERS: dict[str, Callable[[StartReplica], StartReplica]] = {
    "endpoint of the same name": lambda start: msgspec.structs.replace(start, endpoint_uid="uid-2"),
    "version": in_track(model_version="m:v2"),
    "arguments": in_track(engine_args={"max_num_seqs": "2"}),
}


@pytest.mark.parametrize("what", list(OTHERS))
def test_a_start_that_differs_in_anything_takes_nothing(icy: IcyMachine, what: str) -> None:
    icy.serves("r1")
    icy.freezes("r1")
    artifact, manifest = icy.artifact("r1")
    icy.command(OTHERS[what](icy.start_command("r2", artifact, manifest, engine=EngineSpec(argv=STUB_ARGV))))
    assert "restore" not in phases(icy.await_state(S.SERVING, "r2"))
    assert icy.on_disk() == ["r1"]


def test_an_engine_on_a_device_that_the_pool_does_not_take_sleeps_on_disk() -> None:
    with IcyMachine(devices=True) as machine:
        machine.variables["FLEETFORM_WARM_POOL_MIB"] = "0"
        machine.start_worker()
        machine.serves("r1", (ONE,))
        frozen = machine.freezes("r1")
        assert frozen.devices == (ONE,)
        assert "asked to sleep" in machine.engine_log("r1")
        after = machine.serves("r2", (ONE,))
        assert phases(after) == ["restore", "canary"]
        assert "asked to wake" in machine.engine_log("r1")


def test_the_pool_comes_before_the_disk() -> None:
    with IcyMachine(devices=True) as machine:
        machine.start_worker()
        leader = identity_of(machine.serves("r1", (ONE,)))
        assert machine.falls_asleep("r1").disk_mib == 0
        assert processes.alive(leader)
        assert phases(machine.serves("r2", (ONE,))) == ["wake", "canary"]


@pytest.mark.parametrize("missing", ["cuda-checkpoint", "plugin"])
def test_devices_need_more(missing: str) -> None:
    with IcyMachine(devices=True) as machine:
        if missing == "plugin":
            (machine.root / "lib" / "criu" / "cuda_plugin.so").unlink()
        else:
            (machine.programs / "cuda-checkpoint").unlink()
        machine.start_worker()
        said = {"cuda-checkpoint": "off, cuda-checkpoint is not installed", "plugin": "off, criu has no CUDA plugin"}
        assert machine.told() == said[missing]


def stubs(machine: IcyMachine) -> set[int]:
    """The pids of all engines of that machine, children of theirs included."""
    found = set()
    for stat in processes.all_stats():
        try:
            words = Path(f"/proc/{stat.pid}/cmdline").read_text()
        except OSError:
            continue
        if "stub.py" in words and str(machine.root) in words:
            found.add(stat.pid)
    return found
