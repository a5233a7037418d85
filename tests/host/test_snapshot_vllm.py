"""A real vLLM on the CPU, put on disk by a real CRIU and taken from there."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import msgspec
import pytest

from fleetform.domain.model import Manifest
from fleetform.domain.protocol import HostHealth, HostReplica, HostReplicaState
from fleetform.host import processes
from fleetform.host.snapshots import criu, shared
from fleetform.steps import VARIABLE, Step
from tests.engines.tiny_models import write_tiny_chat_model
from tests.harness.waiting import until
from tests.host.machine import Machine, identity_of
from tests.host.test_vllm import START_TIMEOUT_S, ask
from tests.host.warm import phases

S = HostReplicaState

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine that makes snapshots; the test is skipped, with the reason, where it cannot."""
    found = asyncio.run(criu.find(has_devices=False))
    if isinstance(found, str):
        pytest.skip(f"this machine makes no snapshots: {found}")
    with Machine({"FLEETFORM_SNAPSHOTS_MIB": "20000"}) as made:
        yield made


@pytest.mark.parametrize("zygote", [False, True])
def test_an_engine_is_back_as_it_was_in_a_part_of_the_time_of_its_start(machine: Machine, zygote: bool) -> None:
    machine.start_supervisor()
    machine.start_worker()
    if zygote:
        machine.start_zygote()
    folder = machine.root / "models" / "tiny"
    write_tiny_chat_model(folder, seed=1)
    manifest = machine.verify(f"file://{folder}/").manifest
    assert manifest is not None
    cold, cold_s = start(machine, "r1", folder, manifest)
    words = completion(cold)
    leader = identity_of(cold)

    begun = time.monotonic()
    machine.stop_replica("r1", keep_warm=True)
    machine.await_state(S.EXITED, "r1", timeout_s=120)
    frozen_s = time.monotonic() - begun
    (frozen,) = machine.report().sleeping
    assert frozen.disk_mib > 0
    assert processes.group(leader, machine.root).ours == ()
    assert machine.settings.home.joinpath("host", "snapshots", "r1", "record.json").exists()

    warm, warm_s = start(machine, "r2", folder, manifest)
    print(
        f"\nzygote {zygote}: cold start {cold_s:.1f} s; to disk {frozen_s:.1f} s, {frozen.disk_mib} MiB; restored in {warm_s:.2f} s, "
        + ", ".join(f"{p.name} {(p.ended_at - p.started_at).total_seconds():.2f} s" for p in warm.phases if p.ended_at)
    )
    assert phases(warm) == ["restore", "canary"], warm.message
    assert identity_of(warm).pid == leader.pid
    assert completion(warm) == words
    assert machine.report().sleeping == ()
    assert list(machine.settings.home.joinpath("host", "snapshots").iterdir()) == []
    health = msgspec.json.decode(machine.call("GET", "/healthz").content, type=HostHealth)
    assert health.snapshots == "0 on disk, 0 of 20000 MiB"

    again = completion(warm)
    assert again == words, "it goes on serving"
    machine.stop_replica("r2", keep_warm=True)
    machine.await_state(S.EXITED, "r2", timeout_s=120)
    until("it is on disk again", lambda: machine.report().sleeping)
    last, _ = start(machine, "r3", folder, manifest)
    assert phases(last) == ["restore", "canary"], last.message
    assert completion(last) == words
    machine.stop_replica("r3")
    gone = machine.await_state(S.EXITED, "r3", timeout_s=60)
    assert gone.failure is None
    assert processes.group(identity_of(last), machine.root).ours == ()


@pytest.mark.parametrize("at", [Step.FREEZING, Step.THAWING])
def test_a_worker_that_dies_while_criu_works_leaves_nothing_of_the_engine(machine: Machine, at: Step) -> None:
    """Processes that are half frozen, or half back, are ended; the next start is a cold one."""
    crash = machine.root / "crash"
    machine.variables[VARIABLE] = str(crash)
    machine.start_supervisor()
    machine.start_worker()
    shared_before = shared_names()
    folder = machine.root / "models" / "tiny"
    write_tiny_chat_model(folder, seed=1)
    manifest = machine.verify(f"file://{folder}/").manifest
    assert manifest is not None
    first, _ = start(machine, "r1", folder, manifest)
    if at is Step.THAWING:
        machine.stop_replica("r1", keep_warm=True)
        machine.await_state(S.EXITED, "r1", timeout_s=120)
        assert machine.report().sleeping, machine.log.read_text()[-4000:]
    crash.write_text(at)
    with contextlib.suppress(httpx2.TransportError):
        if at is Step.FREEZING:
            machine.stop_replica("r1", keep_warm=True)
        else:
            machine.command(machine.start_command("r2", f"file://{folder}/", manifest, start_timeout_s=START_TIMEOUT_S))
    until("the worker has died", lambda: not crash.exists() and not machine.answers(), timeout_s=60)
    machine.start_worker()
    if at is Step.FREEZING:
        machine.await_state(S.EXITED, "r1", timeout_s=60)
        assert machine.report().sleeping == ()
    else:
        second = machine.await_state(S.SERVING, "r2", timeout_s=START_TIMEOUT_S)
        assert "an engine on disk was not restored" in second.message
        machine.stop_replica("r2")
        machine.await_state(S.EXITED, "r2", timeout_s=60)
    assert processes.group(identity_of(first), machine.root).ours == ()
    assert [stat for stat in processes.all_stats() if is_engine(stat.pid, machine)] == []
    assert shared_names() - shared_before == set()
    assert list(machine.settings.home.joinpath("host", "snapshots").iterdir()) == []


def shared_names() -> set[str]:
    """Of the memory that vLLM's processes share by names, and of CRIU's names for it."""
    return {path.name for path in shared.SHM.iterdir() if path.name.startswith(("psm_", "sem.mp-", "link_remap."))}


def is_engine(pid: int, machine: Machine) -> bool:
    """True for a process of an engine of that machine, and for one that is on the way to become one."""
    with contextlib.suppress(OSError):
        link = Path(f"/proc/{pid}/cwd").readlink()
        return link.is_relative_to(machine.settings.home / "host" / "replicas")
    return False


def start(machine: Machine, replica_id: str, folder: Path, manifest: Manifest) -> tuple[HostReplica, float]:
    """Command a replica and wait until it serves; and how long that took."""
    begun = time.monotonic()
    machine.command(machine.start_command(replica_id, f"file://{folder}/", manifest, start_timeout_s=START_TIMEOUT_S))
    return machine.await_state(S.SERVING, replica_id, timeout_s=START_TIMEOUT_S), time.monotonic() - begun


def completion(replica: HostReplica) -> str:
    answer = ask(replica, "completions", prompt="hello", max_tokens=16, temperature=0)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["text"])
