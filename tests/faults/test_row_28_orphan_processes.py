"""Row 28: what an engine's death leaves behind is gone within ten seconds, also when the host worker was killed with it."""

import signal
import time

import pytest

from fleetform.domain.protocol import HostReplicaState
from fleetform.host import processes
from tests.harness.waiting import until
from tests.host.machine import Machine, identity_of
from tests.host.test_adoption import child_of, start_both, supervisor_of

S = HostReplicaState


@pytest.mark.parametrize("whom", ["engine", "worker and engine", "supervisor, worker and engine"])
def test_row_28_no_orphan_is_left_after_ten_seconds(machine: Machine, whom: str) -> None:
    start_both(machine)
    leader = identity_of(machine.serving(children=2, stubborn_children=True))
    victims = [leader]
    if "worker" in whom:
        victims.insert(0, child_of(machine, "worker"))
    if "supervisor" in whom:
        victims.insert(0, supervisor_of(machine))
    for each in victims:
        processes.send(each, signal.SIGKILL)
    if "supervisor" in whom:
        machine.await_end(victims[0])
        machine.start_supervisor()  # as a service manager does
    killed_at = time.monotonic()
    machine.await_end(leader)
    until("the group is gone", lambda: not any(s.session_id == leader.session_id and s.state not in "ZX" for s in processes.all_stats()))
    assert time.monotonic() - killed_at < 10
    until("the worker answers", machine.answers)
    assert machine.await_state(S.EXITED).failure is not None
