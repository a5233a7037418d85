"""An engine one of whose inner processes ends: all of it is ended, at once, and it is told which one it was."""

import signal
from concurrent.futures import ThreadPoolExecutor

from fleetform.domain.protocol import HostReplica, HostReplicaState
from fleetform.domain.replica import FailureReason
from fleetform.host import processes
from fleetform.host.processes import Identity
from tests.harness.waiting import until
from tests.host.machine import Machine, identity_of

S = HostReplicaState
CORE = "VLLM::EngineCore"


def inner(machine: Machine, replica: HostReplica) -> Identity:
    """The one process of the engine beside its leader."""
    leader = identity_of(replica)
    (found,) = (member for member in processes.group(leader, machine.root).ours if member != leader)
    return found


def test_an_engine_whose_core_is_killed_has_crashed_though_its_leader_goes_on(worker: Machine) -> None:
    replica = worker.serving(children=1, child_title=CORE)
    leader, core = identity_of(replica), inner(worker, replica)
    processes.send(core, signal.SIGKILL)
    until("it has failed", lambda: worker.replica().failure, timeout_s=2)
    failed = worker.await_state(S.EXITED)
    assert failed.failure is FailureReason.CRASHED
    assert failed.message == f"the engine's process {CORE} (pid {core.pid}) was ended by signal 9"
    assert processes.group(leader, worker.root).ours == ()


def test_a_worker_that_takes_an_engine_over_looks_at_its_core_too(machine: Machine) -> None:
    first = machine.start_worker()
    core = inner(machine, machine.serving(children=1, child_title=CORE))
    machine.kill(first)
    machine.start_worker()
    processes.send(core, signal.SIGKILL)
    assert until("it has failed", lambda: machine.replica().failure, timeout_s=2) is FailureReason.CRASHED


def test_a_helper_of_an_engine_may_end(worker: Machine) -> None:
    replica = worker.serving(children=1)
    processes.send(inner(worker, replica), signal.SIGKILL)
    assert worker.report(worker.report().seq, wait_s=2).replicas == ()
    assert processes.alive(identity_of(replica))


def test_an_engine_that_ends_in_order_is_told_by_its_leader_though_its_core_ends_first(worker: Machine) -> None:
    replica = worker.serving(children=1, child_title=CORE)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(worker.ask, replica, stub_delay_s=0.1)
        until("it is under way, after the canary", lambda: worker.log_lines().count("a request began") == 2)
        for each in (inner(worker, replica), identity_of(replica)):
            processes.send(each, signal.SIGTERM)
        assert answer.result().status_code == 200
    assert worker.await_state(S.EXITED).message == "the engine ended with exit status 0"
