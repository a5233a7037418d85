"""Forks for devices are tried: what a forked engine fails of before any has served costs its replica time, and nothing else."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import httpx2
import pytest

from fleetform.domain.machine import EngineSpec
from fleetform.domain.protocol import HostReplica, HostReplicaState
from fleetform.domain.replica import FailureReason
from fleetform.host import forking, processes, records
from fleetform.host.children import recorded_identity
from fleetform.host.failing import Failed
from fleetform.host.layout import Layout
from fleetform.host.processes import Identity
from fleetform.host.record import ReplicaRecord, domain_identity
from fleetform.host.zygote.trust import Trust
from fleetform.steps import VARIABLE, Step
from tests.builders import a_start_command
from tests.harness.crashing import FORKED
from tests.harness.waiting import until
from tests.host.machine import STUB_ARGV, identity_of
from tests.host.warm import ONE, TWO, WarmMachine, phases, worker_of

S = HostReplicaState
DIED = "started plainly: a forked engine did not serve: the engine ended with exit status 4"
FORKED_IN_VAIN = (Step.FORK_END_BEFORE, Step.FORK_ENDED, Step.FORK_JUDGED_BEFORE, Step.FORK_JUDGED)


class ForkingMachine(WarmMachine):
    """A machine with two devices and a zygote, where the stub is forked."""

    def start_worker(self) -> Identity:
        self.worker = self._start("tests.host.zygote.forking_worker", self.answers)
        return self.worker

    def start_zygote(self, timeout_s: float = 30) -> Identity:
        layout = Layout(self.settings)
        words = [sys.executable, "-m", "fleetform.host.zygote", str(layout.zygote), str(layout.exits), "tests.host.zygote.forked_stub"]
        with self.log.open("ab") as log:
            began = subprocess.Popen(words, env=self.variables, cwd=self.root, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        began.returncode = 0  # reaped with all other descendants
        identity = processes.identify(began.pid)
        assert identity is not None
        layout.zygote_record.parent.mkdir(parents=True, exist_ok=True)
        records.write_json(layout.zygote_record, {"identity": identity._asdict()})
        self.await_zygote(timeout_s)
        return identity

    def start(self, replica_id: str, devices: tuple[str, ...] = (ONE,), *, like: str, start_timeout_s: int = 30, **stub: object) -> None:
        """Command a replica of the artifact `like`, which is made with stub when it is asked for first."""
        artifact, manifest = self.artifact(like, told_forks=str(self.root / f"{like}.forks"), **stub)
        engine = EngineSpec(argv=STUB_ARGV)
        command = self.start_command(replica_id, artifact, manifest, engine=engine, devices=devices, start_timeout_s=start_timeout_s)
        self.command(command)

    def forks(self, like: str) -> int:
        """How many engines of that artifact were forked."""
        told = self.root / f"{like}.forks"
        return len(told.read_text().splitlines()) if told.exists() else 0

    def started(self, replica_id: str, devices: tuple[str, ...] = (ONE,), *, like: str, when_forked: str = "") -> HostReplica:
        """`start`, and wait until it serves."""
        self.start(replica_id, devices, like=like, when_forked=when_forked)
        return self.await_state(S.SERVING, replica_id)

    def ended(self, replica_id: str) -> None:
        self.stop_replica(replica_id)
        self.await_state(S.EXITED, replica_id)


def dies(machine: ForkingMachine, at: str, command: Callable[[], object]) -> None:
    """Have the worker die at that step of what the command begins, and another one take its place."""
    file = machine.root / "crash"
    file.write_text(at)
    with contextlib.suppress(httpx2.TransportError):
        command()
    until("the worker has died", lambda: not file.exists() and not machine.answers())
    machine.start_worker()


def sessions_in(folder: Path) -> set[int]:
    """The sessions of all processes that work in that folder, also when it was removed and made anew."""
    found = set()
    for stat in processes.all_stats():
        with contextlib.suppress(OSError):
            if stat.state not in "ZX" and str(Path(f"/proc/{stat.pid}/cwd").readlink()).startswith(str(folder)):
                found.add(os.getsid(stat.pid))
    return found


@pytest.fixture
def machine() -> Iterator[ForkingMachine]:
    """A machine whose worker can be told where to die."""
    with ForkingMachine() as made:
        made.variables[VARIABLE] = str(made.root / "crash")
        made.start_worker()
        made.start_zygote()
        yield made


def test_one_that_serves_is_forked_and_so_are_the_next(machine: ForkingMachine) -> None:
    for replica_id in ("r1", "r2"):
        replica = machine.started(replica_id, like="good")
        assert "launch" not in phases(replica)
        assert replica.message == ""
        machine.ended(replica_id)
    assert machine.forks("good") == 2


def test_one_that_dies_is_started_plainly_and_nothing_is_forked_for_a_device_again(machine: ForkingMachine) -> None:
    replica = machine.started("r1", like="bad", when_forked="dies")
    assert replica.message == DIED
    assert replica.failure is None
    assert {"fork", "launch"} <= set(phases(replica))
    assert machine.ask(replica).status_code == 200
    machine.ended("r1")

    other = machine.started("r2", like="good")
    assert other.message == DIED
    assert (machine.forks("bad"), machine.forks("good")) == (1, 0)
    on_cpu = machine.started("r3", (), like="cpu")
    assert on_cpu.message == "", "it needs no device"
    assert machine.forks("cpu") == 1


def test_the_next_zygote_is_tried_anew(machine: ForkingMachine) -> None:
    machine.started("r1", like="bad", when_forked="dies")
    machine.ended("r1")
    zygote = recorded_identity(Layout(machine.settings).zygote_record)
    assert zygote is not None
    machine.kill(zygote)
    machine.start_zygote()
    assert machine.started("r2", like="good").message == ""
    assert machine.forks("good") == 1


def test_a_new_worker_knows_what_was_learned(machine: ForkingMachine) -> None:
    machine.started("r1", like="bad", when_forked="dies")
    machine.ended("r1")
    machine.kill(worker_of(machine))
    machine.start_worker()
    assert machine.started("r2", like="good").message == DIED
    machine.ended("r2")


def test_one_that_answers_nothing_is_ended_with_all_that_it_began(machine: ForkingMachine) -> None:
    replica = machine.started("r1", like="bad", when_forked="dumb")
    assert replica.message.startswith("started plainly: a forked engine did not serve: ")
    assert sessions_in(Layout(machine.settings).work("r1")) == {identity_of(replica).session_id}
    machine.ended("r1")
    assert sessions_in(Layout(machine.settings).work("r1")) == set()


def test_a_model_that_fails_either_way_blames_no_fork(machine: ForkingMachine) -> None:
    machine.start("r1", like="broken", mode="crash")
    failed = machine.await_state(S.EXITED)
    assert failed.failure is FailureReason.CRASHED
    assert failed.message == "the engine ended with exit status 3"
    assert machine.started("r2", like="good").message == ""
    assert (machine.forks("broken"), machine.forks("good")) == (1, 1)


def test_once_one_has_served_a_failure_is_the_engines_own(machine: ForkingMachine) -> None:
    machine.started("r1", like="good")
    machine.start("r2", (TWO,), like="bad", when_forked="dies")
    failed = machine.await_state(S.EXITED, "r2")
    assert failed.failure is FailureReason.CRASHED
    assert failed.message == "the engine ended with exit status 4"
    assert "launch" not in phases(failed)


def test_what_can_only_be_the_forks_is_believed_also_then(machine: ForkingMachine) -> None:
    machine.started("r1", like="good")
    replica = machine.started("r2", (TWO,), like="bad", when_forked="dies_of_cuda")
    assert replica.message == "started plainly: a forked engine did not serve: the engine ended with exit status 1"
    machine.ended("r2")
    assert machine.started("r3", (TWO,), like="good").message == replica.message


def test_one_that_hangs_costs_one_try_and_the_next_is_started_plainly(machine: ForkingMachine) -> None:
    machine.start("r1", like="bad", when_forked="hangs", start_timeout_s=2)
    failed = machine.await_state(S.EXITED)
    why = "a forked engine did not serve: the engine was not ready within 2 s"
    assert failed.failure is FailureReason.CRASHED, "one that took too long is never tried again"
    assert failed.message == f"{why}; the next start is a plain one"
    assert machine.started("r2", like="bad").message == f"started plainly: {why}"
    assert machine.forks("bad") == 1


def test_one_that_fails_late_is_not_started_again_in_the_rest_of_its_time(machine: ForkingMachine) -> None:
    machine.start("r1", like="late", when_forked="dies_late", start_timeout_s=6)
    failed = machine.await_state(S.EXITED)
    assert failed.failure is FailureReason.CRASHED
    assert failed.message == "a forked engine did not serve: the engine ended with exit status 5; the next start is a plain one"
    assert "launch" not in phases(failed)


def test_a_plain_start_that_is_left_too_little_time_costs_one_try(machine: ForkingMachine) -> None:
    machine.start("r1", like="slow", when_forked="dies", mode="hang", start_timeout_s=2)
    failed = machine.await_state(S.EXITED)
    assert failed.failure is FailureReason.CRASHED
    assert failed.message == (
        "a forked engine did not serve: the engine ended with exit status 4, and the one started in its place was not ready in what was "
        "left of the time; the next start is a plain one"
    )


@pytest.mark.parametrize("worker_dies", [False, True], ids=["", "also for the next worker"])
def test_only_one_is_tried_at_a_time(machine: ForkingMachine, worker_dies: bool) -> None:
    machine.start("r1", like="slow", when_forked="hangs")
    until("it is forked", lambda: machine.forks("slow") == 1)
    if worker_dies:
        machine.kill(worker_of(machine))
        machine.start_worker()
    beside = machine.started("r2", (TWO,), like="good")
    assert beside.message == "started plainly: another engine is the first that is forked for a device here, and does not serve yet"
    machine.ended("r2")
    machine.ended("r1")
    assert machine.started("r3", like="good").message == "", "one that was stopped has shown nothing"


@pytest.mark.anyio
async def test_one_that_was_killed_for_want_of_memory_blames_no_fork() -> None:
    me = this_process()
    replica = mock.Mock(record=ReplicaRecord(start=a_start_command("r1"), zygote=domain_identity(me)), exit=None)
    with pytest.raises(Failed, match="ran out of memory"):
        await forking._give_up(replica, me, Failed(FailureReason.OOM_KILLED, "the kernel ran out of memory"))
    replica.end_group.assert_not_called()


def test_without_a_device_a_failure_is_the_engines_own(machine: ForkingMachine) -> None:
    machine.start("r1", (), like="bad", when_forked="dies")
    failed = machine.await_state(S.EXITED)
    assert failed.message == "the engine ended with exit status 4"
    assert "launch" not in phases(failed)


def test_a_worker_is_made_to_die_at_every_step_of_a_fork() -> None:
    assert {*FORKED_IN_VAIN} >= FORKED


@pytest.mark.parametrize("at", [*FORKED_IN_VAIN, f"{Step.HOST_RECORD_BEFORE}:4", f"{Step.SPAWN_BEFORE}:2"])
def test_a_worker_that_dies_meanwhile_finishes_it(machine: ForkingMachine, at: str) -> None:
    dies(machine, at, lambda: machine.start("r1", like="bad", when_forked="dies"))
    replica = machine.await_state(S.SERVING)
    assert replica.message == DIED
    assert machine.forks("bad") == 1
    machine.ended("r1")
    assert machine.started("r2", like="good").message == DIED
    machine.ended("r2")


@pytest.mark.parametrize("at", [Step.FORK_JUDGED_BEFORE, Step.FORK_JUDGED, Step.CANARY_PASSED, Step.SPAWNED])
def test_a_worker_that_dies_while_one_is_tried_goes_on_with_it(machine: ForkingMachine, at: Step) -> None:
    dies(machine, at, lambda: machine.start("r1", like="good"))
    assert machine.await_state(S.SERVING).message == ""
    machine.start("r2", (TWO,), like="bad", when_forked="dies")
    assert machine.await_state(S.EXITED, "r2").failure is FailureReason.CRASHED, "forks are trusted"


def test_one_that_never_ran_because_the_worker_died_has_shown_nothing(machine: ForkingMachine) -> None:
    dies(machine, Step.PROCESS_RECORDED, lambda: machine.start("r1", like="good"))
    assert "launch" not in phases(machine.await_state(S.EXITED))
    assert machine.started("r2", like="good").message == ""


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff"])
def test_a_record_that_cannot_be_read_says_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trust.json"
    path.write_bytes(content)
    assert Trust(path).refusal(domain_identity(this_process()), "r1") == ""


@pytest.mark.anyio
@pytest.mark.parametrize("restarted", [False, True], ids=["", "also for the next worker"])
async def test_what_a_dead_zygote_has_shown_is_not_believed_of_its_successor_nor_in_its_place(tmp_path: Path, restarted: bool) -> None:
    path = tmp_path / "trust.json"
    dead = domain_identity(this_process())
    successor = domain_identity(this_process()._replace(start_ticks=this_process().start_ticks + 1))
    trust = Trust(path)
    await trust.set_doubt(successor, "it does not serve")
    trust = Trust(path) if restarted else trust
    await trust.set_served(dead)
    assert trust.refusal(successor, "r1") == "it does not serve"
    assert Trust(path).refusal(successor, "r1") == "it does not serve"


@pytest.mark.anyio
async def test_of_two_verdicts_at_once_neither_is_lost(tmp_path: Path) -> None:
    path, zygote = tmp_path / "trust.json", domain_identity(this_process())
    trust = Trust(path)
    await asyncio.gather(trust.set_served(zygote), trust.set_doubt(zygote, "it does not serve"), trust.set_served(zygote))
    for known in (trust, Trust(path)):
        assert known.has_served(zygote)
        assert known.refusal(zygote, "r1") == "it does not serve"


def this_process() -> Identity:
    me = processes.identify(os.getpid())
    assert me is not None
    return me
