"""The life of a replica: serving, ending, and each way of failing at the start."""

from fleetform.domain.protocol import HostReplicaState
from fleetform.domain.replica import Unix
from fleetform.host import processes
from tests.host.machine import Machine, identity_of

S = HostReplicaState


def test_a_replica_serves_and_is_stopped(worker: Machine) -> None:
    replica = worker.serving()
    assert isinstance(replica.address, Unix)
    answer = worker.ask(replica)
    assert answer.json()["choices"][0]["message"]["content"].startswith("n-r1")
    assert [phase.name for phase in replica.phases if phase.ended_at is None] == []
    leader = identity_of(replica)
    worker.stop_replica()
    gone = worker.await_state(S.EXITED)
    assert (gone.exit_code, gone.failure) == (0, None)
    assert not processes.alive(leader)
