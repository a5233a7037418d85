"""Engines that hang: out of rotation, ended when they do not come back, and never taken for hung while they only have much to do."""

import signal

from fleetform.domain.machine import EngineSpec
from fleetform.domain.protocol import HostReplica, HostReplicaState
from fleetform.domain.replica import FailureReason
from fleetform.host import processes
from tests.harness.waiting import until
from tests.host.machine import STUB_ARGV, Machine, identity_of

S = HostReplicaState


def is_out(machine: Machine) -> HostReplica | None:
    found = machine.replica()
    return found if found.hung_since is not None else None


def is_in(machine: Machine) -> HostReplica | None:
    found = machine.replica()
    return found if found.hung_since is None else None


def test_a_stopped_engine_is_out_at_once_and_comes_back_when_it_goes_on(worker: Machine) -> None:
    leader = identity_of(worker.serving())
    processes.send(leader, signal.SIGSTOP)
    out = until("it is out of rotation", lambda: is_out(worker), timeout_s=5)
    assert out.state is S.SERVING
    assert f"process {leader.pid}" in out.message
    processes.send(leader, signal.SIGCONT)
    back = until("it is back", lambda: is_in(worker), timeout_s=5)
    assert (back.state, back.message) == (S.SERVING, "")
    assert processes.alive(leader)


def test_a_stopped_engine_that_does_not_come_back_is_ended_with_all_that_is_its_own(worker: Machine) -> None:
    replica = worker.serving(children=2, stubborn_children=True)
    leader = identity_of(replica)
    child = next(member for member in processes.group(leader, worker.root).ours if member != leader)
    processes.send(leader, signal.SIGSTOP)
    processes.send(child, signal.SIGSTOP)
    failed = worker.await_state(S.EXITED)
    assert failed.failure is FailureReason.HUNG
    assert "is stopped" in failed.message
    assert failed.log_tail[-1] == "stub engine is ready" or failed.log_tail[-1] == "a request began"
    assert processes.group(leader, worker.root).ours == ()


def test_a_stopped_helper_without_which_the_engine_answers_does_not_count(worker: Machine) -> None:
    replica = worker.serving(children=1)
    leader = identity_of(replica)
    child = next(member for member in processes.group(leader, worker.root).ours if member != leader)
    processes.send(child, signal.SIGSTOP)
    until("the engine was asked for a token", lambda: worker.log_lines().count("a request began") >= 2, timeout_s=5)
    until("it is in rotation", lambda: is_in(worker), timeout_s=5)
    assert worker.report(worker.report().seq, wait_s=4).replicas == ()  # twice as long as a helper that counted would take


def test_a_hung_engine_stays_out_when_the_worker_is_killed_and_comes_back_under_the_next(machine: Machine) -> None:
    first = machine.start_worker()
    leader = identity_of(machine.serving())
    processes.send(leader, signal.SIGSTOP)
    since = until("it is out of rotation", lambda: is_out(machine), timeout_s=5).hung_since
    machine.kill(first)
    machine.start_worker()
    assert machine.replica().hung_since == since
    processes.send(leader, signal.SIGCONT)
    until("it is back", lambda: is_in(machine), timeout_s=5)
    assert processes.alive(leader)


def test_a_raw_engine_is_asked_by_its_health_path(worker: Machine) -> None:
    replica = worker.serving(engine=EngineSpec(argv=STUB_ARGV, routes="raw", health_path="/ping"))
    processes.send(identity_of(replica), signal.SIGSTOP)
    until("it is out of rotation", lambda: is_out(worker), timeout_s=5)
    processes.send(identity_of(replica), signal.SIGCONT)
    until("it is back", lambda: is_in(worker), timeout_s=5)


def test_a_hung_engine_that_is_to_be_stopped_is_not_waited_for(worker: Machine) -> None:
    replica = worker.serving()
    processes.send(identity_of(replica), signal.SIGSTOP)
    until("it is out of rotation", lambda: is_out(worker), timeout_s=5)
    worker.stop_replica(drain_timeout_s=300)
    gone = worker.await_state(S.EXITED, timeout_s=10)
    assert (gone.failure, gone.exit_code) == (None, 137)
