"""Row 26: whoever answers at an engine's address must be that engine: its process, its model, its name. Otherwise it never serves."""

import pytest

from fleetform.domain.machine import EngineSpec
from fleetform.domain.protocol import HostReplicaState
from fleetform.domain.replica import FailureReason
from fleetform.host import processes
from tests.host.machine import STUB_ARGV, Machine, identity_of

S = HostReplicaState


@pytest.mark.parametrize(
    ("mode", "reason"), [("wrong-model", "WrongModel"), ("wrong-instance", "WrongModel"), ("bad-canary", "CanaryFailed")]
)
def test_row_26_an_engine_that_is_not_what_was_started_never_serves(worker: Machine, mode: str, reason: str) -> None:
    worker.start_replica(mode=mode)
    failed = worker.await_state(S.EXITED)
    assert failed.failure is not None
    assert failed.failure.value == reason
    assert not processes.alive(identity_of(failed))


def test_row_26_a_stranger_with_every_right_name_is_not_taken_for_it(worker: Machine) -> None:
    # The engine's own child answers in its stead, in a session of its own, and knows every right name.
    stranger = ["/bin/sh", "-c", 'setsid "$@" & sleep 60', "sh", *STUB_ARGV]
    worker.start_replica(engine=EngineSpec(argv=stranger))
    failed = worker.await_state(S.EXITED)
    assert failed.failure is FailureReason.WRONG_MODEL
    assert "answers at the engine's address" in failed.message
