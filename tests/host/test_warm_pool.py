"""Engines that sleep until the same is asked for again: kept, woken, ended, and never mistaken for another."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleetform.domain.machine import EngineSpec
from fleetform.domain.protocol import HostReplicaState, StartReplica
from fleetform.domain.replica import FailureReason
from fleetform.host import processes
from fleetform.host.pool import room
from tests.harness.waiting import until
from tests.host.machine import STUB_ARGV, identity_of
from tests.host.warm import IDLE_MIB, ONE, TOTAL_MIB, TWO, WarmMachine, phases, worker_of

S = HostReplicaState


def test_the_same_start_wakes_the_same_process(warm: WarmMachine) -> None:
    before = warm.serves("r1")
    asleep = warm.falls_asleep("r1")
    assert (asleep.engine_id, asleep.endpoint_uid, asleep.devices) == ("r1", "uid-chat", (ONE,))
    after = warm.serves("r2")
    assert identity_of(after) == identity_of(before)
    assert after.address == before.address
    assert phases(after) == ["wake", "canary"]
    assert warm.sleeping() == ()
    assert warm.ask(after).json()["choices"][0]["message"]["content"].startswith("n-r1"), "it answers as the engine that it is"
    assert "asked to wake" in warm.log_lines("r2"), "its log is its engine's"


def test_a_woken_engine_sleeps_again_and_is_ended_under_the_name_it_was_launched_with(warm: WarmMachine) -> None:
    leader = identity_of(warm.serves("r1", children=1))
    warm.falls_asleep("r1")
    warm.serves("r2")
    assert warm.falls_asleep("r2").engine_id == "r1"
    last = warm.serves("r3")
    assert identity_of(last) == leader
    warm.stop_replica("r3")
    gone = warm.await_state(S.EXITED, "r3")
    assert (gone.failure, gone.exit_code) == (None, 0)
    assert processes.group(leader, warm.root).ours == ()
    assert not Path(getattr(last.address, "path", "")).exists()
    assert not (warm.settings.home / "host" / "replicas" / "r1.d").exists()
    assert warm.sleeping() == ()


def test_a_stop_that_is_not_to_be_kept_ends_the_engine(warm: WarmMachine) -> None:
    leader = identity_of(warm.serves("r1"))
    warm.stop_replica("r1")
    warm.await_state(S.EXITED, "r1")
    assert not processes.alive(leader)
    assert warm.sleeping() == ()


def test_what_is_asleep_is_nothing_that_its_device_waits_for(warm: WarmMachine) -> None:
    """The device is free for others but for the rest, and a stranger's memory is still told from that."""
    first = identity_of(warm.serves("r1"))
    warm.falls_asleep("r1")
    other = warm.serves("r2", like="r2")
    assert processes.alive(first), "there is room for both"
    assert [found.engine_id for found in warm.sleeping()] == ["r1"]
    warm.stop_replica("r2")
    assert warm.await_state(S.EXITED, "r2").message == ""
    assert not processes.alive(identity_of(other))
    warm.devices.hold(ONE, 5_000)
    warm.begins("r3")
    refused = warm.await_state(S.EXITED, "r3")
    assert refused.failure is FailureReason.LAUNCH_REFUSED
    assert processes.alive(first), "it was not to blame"
    warm.devices.hold(ONE, 0)
    assert identity_of(warm.serves("r4")) == first


@pytest.mark.parametrize("mode", ["no-wake", "dies-waking", "wakes-dumb"])
def test_an_engine_that_does_not_wake_is_ended_and_the_start_is_a_cold_one(warm: WarmMachine, mode: str) -> None:
    leader = identity_of(warm.serves("r1", sleep_mode=mode, children=1))
    warm.falls_asleep("r1")
    after = warm.serves("r2", sleep_mode=mode)
    assert identity_of(after) != leader
    assert "a sleeping engine was not woken" in after.message
    assert phases(after)[:2] == ["wake", "fetch"]
    assert processes.group(leader, warm.root).ours == ()
    assert warm.sleeping() == ()
    assert not (warm.settings.home / "host" / "replicas" / "r1.d").exists()
    assert warm.ask(after).status_code == 200


@pytest.mark.parametrize("mode", ["no-sleep", "keeps-memory"])
def test_an_engine_that_does_not_sleep_is_ended(warm: WarmMachine, mode: str) -> None:
    leader = identity_of(warm.serves("r1", sleep_mode=mode))
    warm.stop_replica("r1", keep_warm=True)
    assert warm.await_state(S.EXITED, "r1").failure is None
    assert "asked to sleep" in warm.engine_log("r1")
    assert not processes.alive(leader)
    assert warm.sleeping() == ()


def test_an_engine_that_keeps_too_much_of_its_device_is_ended(warm: WarmMachine) -> None:
    kept = room.by_default(TOTAL_MIB)
    leader = identity_of(warm.serves("r1", asleep_mib=kept + 1))
    warm.stop_replica("r1", keep_warm=True)
    warm.await_state(S.EXITED, "r1")
    assert not processes.alive(leader)
    warm.serves("r2", like="r2", asleep_mib=kept)
    assert warm.falls_asleep("r2").engine_id == "r2"


@pytest.mark.parametrize("args", [{"gpu_memory_utilization": "0.98"}, {"kv_cache_memory_bytes": "1000"}])
def test_what_sleeps_makes_way_where_an_engine_takes_more_of_the_device(warm: WarmMachine, args: dict[str, str]) -> None:
    """Of one whose cache has a size of its own nobody knows what it takes."""
    leader = identity_of(warm.serves("r1"))
    warm.falls_asleep("r1")
    warm.serves("r2", (TWO,), like="r2", args=args)
    assert processes.alive(leader), "that was another device"
    warm.serves("r3", like="r3", args=args, awake_mib=IDLE_MIB)
    assert not processes.alive(leader)
    assert warm.sleeping() == ()


def test_the_longest_asleep_makes_way_for_memory_of_the_host(idle: WarmMachine) -> None:
    idle.start_worker()
    first = identity_of(idle.serves("r1"))
    each = idle.falls_asleep("r1").memory_mib
    assert each > 0
    idle.kill(worker_of(idle))
    most = each * 5 // 2
    idle.variables["FLEETFORM_WARM_POOL_MIB"] = str(most)
    idle.start_worker()
    for name in ("r2", "r3"):
        idle.serves(name, (TWO,), like=name)
        idle.stop_replica(name, keep_warm=True)
        idle.await_state(S.EXITED, name)
    assert [found.engine_id for found in idle.sleeping()] == ["r2", "r3"]
    assert not processes.alive(first)
    assert sum(found.memory_mib for found in idle.sleeping()) <= most


def test_an_engine_that_is_larger_than_the_pool_is_not_asked(idle: WarmMachine) -> None:
    idle.variables["FLEETFORM_WARM_POOL_MIB"] = "1"
    idle.start_worker()
    idle.serves("r1")
    idle.stop_replica("r1", keep_warm=True)
    idle.await_state(S.EXITED, "r1")
    assert "asked to sleep" not in idle.engine_log("r1")


@pytest.mark.parametrize("pool", ["0", ""])
def test_a_machine_without_a_pool_keeps_none(idle: WarmMachine, pool: str) -> None:
    """It is turned off, or there is no device."""
    idle.variables["FLEETFORM_WARM_POOL_MIB"] = pool
    if not pool:
        (idle.devices.folder / "nvidia-smi").unlink()
    idle.start_worker()
    idle.serves("r1", (ONE,) if pool else ())
    idle.stop_replica("r1", keep_warm=True)
    idle.await_state(S.EXITED, "r1")
    assert "asked to sleep" not in idle.engine_log("r1")
    assert idle.sleeping() == ()


def test_the_pool_is_no_memory_that_is_offered(idle: WarmMachine) -> None:
    idle.start_worker()
    with_pool = idle.report().capacity.memory_mib
    idle.kill(worker_of(idle))
    idle.variables["FLEETFORM_WARM_POOL_MIB"] = "0"
    idle.start_worker()
    assert idle.report().capacity.memory_mib == with_pool + 8192


def test_nobody_is_kept_longer_than_the_limit(idle: WarmMachine) -> None:
    idle.variables["FLEETFORM_WARM_POOL_S"] = "1"
    idle.start_worker()
    leader = identity_of(idle.serves("r1", children=1))
    idle.stop_replica("r1", keep_warm=True)
    idle.await_state(S.EXITED, "r1")
    until("nobody sleeps", lambda: not idle.sleeping() and not processes.group(leader, idle.root).ours)


def test_what_is_not_wanted_any_more_is_ended(warm: WarmMachine) -> None:
    leader = identity_of(warm.serves("r1", children=1))
    warm.falls_asleep("r1")
    warm.evict("r1", "unknown")
    assert processes.group(leader, warm.root).ours == ()
    assert "r1.d" not in {path.name for path in (warm.settings.home / "host" / "replicas").iterdir()}
    after = warm.serves("r2")
    assert "wake" not in phases(after)


def test_a_sleeping_engine_that_dies_is_forgotten_with_all_that_it_had(warm: WarmMachine) -> None:
    leader = identity_of(warm.serves("r1", children=2))
    warm.falls_asleep("r1")
    processes.send(leader, signal.SIGKILL)
    until("it is forgotten", lambda: warm.sleeping() == ())
    assert processes.group(leader, warm.root).ours == ()
    assert "wake" not in phases(warm.serves("r2"))


def test_a_process_that_cannot_be_proved_to_be_of_what_slept_is_left_alone(warm: WarmMachine) -> None:
    leader = identity_of(warm.serves("r1", children=1, child_directory="/"))
    (child,) = [member for member in processes.group(leader, warm.root).ours if member != leader]
    warm.falls_asleep("r1")
    warm.kill(worker_of(warm))
    warm.kill(leader)
    warm.start_worker()
    until("it is told", lambda: "sleeping_engine_in_doubt" in warm.log.read_text())
    assert processes.alive(child)
    assert "wake" not in phases(warm.serves("r2")), "and nobody is woken"
    assert [found.engine_id for found in warm.sleeping()] == ["r1"]
    warm.kill(child)
    until("it is forgotten", lambda: warm.sleeping() == ())


def test_down_ends_what_sleeps(warm: WarmMachine) -> None:
    leader = identity_of(warm.serves("r1"))
    warm.falls_asleep("r1")
    serving = identity_of(warm.serves("r2", (TWO,), like="r2"))
    assert warm.call("POST", "/v1/shutdown").status_code == 204
    assert not processes.alive(leader)
    assert not processes.alive(serving)


def in_track(**fields: Any) -> Callable[[StartReplica], StartReplica]:
    return lambda start: msgspec.structs.replace(start, track=msgspec.structs.replace(start.track, **fields))


OTHERS: dict[str, Callable[[StartReplica], StartReplica]] = {
    "endpoint": lambda start: msgspec.structs.replace(start, endpoint="code"),
    "endpoint of the same name": lambda start: msgspec.structs.replace(start, endpoint_uid="uid-2"),
    "project": lambda start: msgspec.structs.replace(start, project="other"),
    "name": lambda start: msgspec.structs.replace(start, served_name="code"),
    "device": lambda start: msgspec.structs.replace(start, members=(msgspec.structs.replace(start.members[0], devices=(TWO,)),)),
    "version": in_track(model_version="m:v2"),
    "arguments": in_track(engine_args={"max_num_seqs": "2"}),
    "quantization": in_track(quantization="fp8"),
    "remote code": in_track(allow_remote_code=True),
    "command": in_track(command=EngineSpec(argv=[*STUB_ARGV, "--token-delay-s", "0"])),
    "server that names no endpoint": lambda start: msgspec.structs.replace(start, endpoint_uid=""),
}


@pytest.mark.parametrize("what", list(OTHERS))
def test_a_start_that_differs_in_anything_wakes_nobody(warm: WarmMachine, what: str) -> None:
    leader = identity_of(warm.serves("r1"))
    warm.falls_asleep("r1")
    artifact, manifest = warm.artifact("r1")
    same = warm.start_command("r2", artifact, manifest, engine=EngineSpec(argv=STUB_ARGV), devices=(ONE,))
    warm.command(OTHERS[what](same))
    after = warm.await_state(S.SERVING, "r2")
    assert identity_of(after) != leader
    assert "wake" not in phases(after)


def test_of_two_starts_one_wakes_it(warm: WarmMachine) -> None:
    """The planner gives no device twice; should it ever happen, no engine has two replicas."""
    leader = identity_of(warm.serves("r1", asleep_mib=20, awake_mib=20))
    warm.falls_asleep("r1")
    for name in ("r2", "r3"):
        warm.begins(name, asleep_mib=20, awake_mib=20)
    found = [identity_of(warm.await_state(S.SERVING, name)) for name in ("r2", "r3")]
    assert len(set(found)) == 2
    assert leader in found
