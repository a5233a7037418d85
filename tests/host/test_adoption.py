"""The worker, the supervisor, or both are killed while an engine serves: the engine never notices, and is taken up as it was."""

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from fleetform.domain.protocol import HostReplicaState
from fleetform.domain.replica import FailureReason
from fleetform.host import children, processes, records
from fleetform.host.processes import Identity
from tests.harness.waiting import until
from tests.host.machine import Machine, identity_of

S = HostReplicaState
WORKER = [sys.executable, "-m", "fleetform.host.worker"]


def test_a_killed_worker_finds_its_engine_again(worker: Machine) -> None:
    before = worker.serving()
    worker.kill(recorded_worker(worker))
    worker.start_worker()
    after = worker.await_state(S.SERVING)
    assert identity_of(after) == identity_of(before)
    assert after.address == before.address
    assert worker.ask(after).status_code == 200


def test_a_stopped_worker_leaves_its_engine_alone(worker: Machine) -> None:
    before = worker.serving()
    first = recorded_worker(worker)
    processes.send(first, signal.SIGTERM)
    worker.await_end(first)
    assert worker.ask(before).status_code == 200
    worker.start_worker()
    assert identity_of(worker.await_state(S.SERVING)) == identity_of(before)


def test_an_adopted_engine_can_be_stopped(worker: Machine) -> None:
    worker.serving(children=1)
    worker.kill(recorded_worker(worker))
    worker.start_worker()
    leader = identity_of(worker.await_state(S.SERVING))
    worker.stop_replica()
    worker.await_state(S.EXITED)
    assert processes.group(leader, worker.root).ours == ()


def test_an_engine_that_was_starting_becomes_ready_under_the_next_worker(worker: Machine) -> None:
    worker.start_replica(start_delay_s=1.5)
    until("the engine runs", lambda: worker.replica().members[0].process is not None)
    leader = identity_of(worker.replica())
    worker.kill(recorded_worker(worker))
    worker.start_worker()
    assert identity_of(worker.await_state(S.SERVING)) == leader


def test_an_engine_that_ended_unseen_is_reported_as_unknown(worker: Machine) -> None:
    leader = identity_of(worker.serving(children=1))
    worker.kill(recorded_worker(worker))
    worker.kill(leader)
    worker.start_worker()
    failed = worker.await_state(S.EXITED)
    assert (failed.failure, failed.exit_code) == (FailureReason.CRASHED, None)
    assert "nobody saw" in failed.message
    # Its child had lost both parent and worker; it is known by where it works.
    assert processes.group(leader, worker.root).doubtful == ()


def test_a_process_that_cannot_be_proved_ours_is_shown_and_left_alone(worker: Machine) -> None:
    leader = identity_of(worker.serving(children=1, child_directory="/"))
    (child,) = [member for member in processes.group(leader, worker.root).ours if member != leader]
    worker.kill(leader)
    shown = worker.await_state(S.QUARANTINED)
    assert str(child.pid) in shown.message
    assert processes.alive(child)
    worker.kill(child)
    worker.await_state(S.EXITED)


def test_a_reused_pid_is_never_signalled(worker: Machine) -> None:
    replica = worker.serving()
    worker.kill(recorded_worker(worker))
    # The record now names a process that is not the one that was started: as if its pid had been reused.
    record = worker.settings.home / "host" / "replicas" / "r1.json"
    kept = records.read_json(record)
    assert kept is not None
    kept["process"]["start_ticks"] -= 1
    records.write_json(record, kept)
    worker.start_worker()
    worker.await_state(S.EXITED)
    assert processes.alive(identity_of(replica))


@pytest.mark.parametrize("change", [{"boot_id": "another"}, {"pid_namespace": 1}])
def test_a_record_of_another_boot_or_container_is_a_lost_host(worker: Machine, change: dict[str, Any]) -> None:
    replica = worker.serving()
    worker.kill(recorded_worker(worker))
    record = worker.settings.home / "host" / "replicas" / "r1.json"
    kept = records.read_json(record)
    assert kept is not None
    kept["process"] |= change
    records.write_json(record, kept)
    worker.start_worker()
    assert worker.await_state(S.EXITED).failure is FailureReason.HOST_LOST
    assert processes.alive(identity_of(replica))


def test_the_exit_of_an_orphaned_engine_is_collected_by_the_supervisor(machine: Machine) -> None:
    start_both(machine)
    leader = identity_of(machine.serving())
    # The worker is taken away, so that it cannot come back before the engine has ended.
    worker = child_of(machine, "worker")
    (machine.settings.home / "host" / "children" / "worker.json").unlink()
    processes.send(supervisor_of(machine), signal.SIGHUP)
    machine.await_end(worker)
    processes.send(leader, signal.SIGKILL)
    note = machine.settings.home / "host" / "exits" / f"{leader.pid}-{leader.start_ticks}.json"
    until("the exit is written down", note.exists)
    machine.write_child("worker", WORKER)
    processes.send(supervisor_of(machine), signal.SIGHUP)
    until("the worker answers", machine.answers)
    failed = machine.await_state(S.EXITED)
    assert (failed.failure, failed.exit_code) == (FailureReason.CRASHED, 137)


def test_worker_and_supervisor_bring_each_other_back(machine: Machine) -> None:
    start_both(machine)
    before = machine.serving()
    first_worker, first_supervisor = child_of(machine, "worker"), supervisor_of(machine)

    machine.kill(first_worker)
    second_worker = until("another worker runs", lambda: other_than(first_worker, child_of(machine, "worker")))
    until("it answers", machine.answers)
    assert identity_of(machine.await_state(S.SERVING)) == identity_of(before)

    machine.kill(first_supervisor)
    until("another supervisor runs", lambda: other_than(first_supervisor, supervisor_of(machine)))
    until("it adopted the worker", lambda: f"worker: adopted pid {second_worker.pid}" in supervisor_log(machine))
    assert processes.alive(second_worker)
    assert identity_of(machine.await_state(S.SERVING)) == identity_of(before)


def test_with_both_killed_the_next_supervisor_adopts_what_runs(machine: Machine) -> None:
    machine.write_child("sleeper", ["/bin/sleep", "600"])
    start_both(machine)
    before = machine.serving()
    sleeper = child_of(machine, "sleeper")
    # Both at once, before either can bring the other back.
    worker, supervisor = child_of(machine, "worker"), supervisor_of(machine)
    for each in (worker, supervisor):
        processes.send(each, signal.SIGSTOP)
    for each in (worker, supervisor):
        machine.kill(each)
    assert machine.ask(before).status_code == 200

    machine.start_supervisor()
    until("another worker answers", machine.answers)
    assert child_of(machine, "sleeper") == sleeper
    assert processes.alive(sleeper)
    assert identity_of(machine.await_state(S.SERVING)) == identity_of(before)


def start_both(machine: Machine) -> None:
    machine.write_child("worker", WORKER, order=20)
    machine.start_supervisor()
    until("the worker answers", machine.answers)


def recorded_worker(machine: Machine) -> Identity:
    """The worker that holds this machine's socket."""
    stats = [s for s in processes.all_stats() if command_of(s.pid) == WORKER and home_of(s.pid) == str(machine.settings.home)]
    (found,) = [identity for identity in (processes.identify(s.pid) for s in stats) if identity is not None and processes.alive(identity)]
    return found


def command_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []


def home_of(pid: int) -> str:
    words = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return next((word.partition("=")[2] for word in words if word.startswith("FLEETFORM_HOME=")), "")


def child_of(machine: Machine, name: str) -> Identity:
    found = children.recorded_identity(machine.settings.home / "host" / "running" / f"{name}.json")
    assert found is not None
    return found


def supervisor_of(machine: Machine) -> Identity:
    found = children.recorded_identity(machine.settings.home / "host" / "supervisor.json")
    assert found is not None
    return found


def other_than(old: Identity, new: Identity) -> Identity | None:
    return new if new != old and processes.alive(new) else None


def supervisor_log(machine: Machine) -> str:
    own = machine.settings.home / "logs" / "supervisor.log"
    return machine.log.read_text() + (own.read_text() if own.exists() else "")
