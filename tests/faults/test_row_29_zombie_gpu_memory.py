"""Row 29: a device whose memory somebody still holds gets no engine: who holds it is told, and the device comes back by itself.

The devices are pretended: an nvidia-smi that says what the test wrote down.
"""

import pytest

from fleetform.domain.protocol import HostReplicaState
from fleetform.domain.replica import FailureReason
from fleetform.host import ending
from fleetform.host.ledger import Ledger
from tests.harness.waiting import until
from tests.host.machine import Machine
from tests.host.test_ledger import ONE, TWO, Gpus, gpus, ledger

__all__ = ["gpus", "ledger"]
S = HostReplicaState


def test_row_29_a_replica_waits_for_the_memory_of_its_device(machine: Machine, gpus: Gpus) -> None:
    machine.variables["PATH"] = gpus.path
    machine.start_worker()
    machine.serving(devices=(ONE,))
    gpus.say({ONE: 5_000, TWO: 23_900})
    machine.stop_replica()
    until("its engine has ended", lambda: "stub engine ends" in machine.log_lines())
    assert machine.await_state(S.STOPPING).state is S.STOPPING
    gpus.say({ONE: 23_900, TWO: 23_900})
    assert machine.await_state(S.EXITED).failure is None


def test_row_29_no_engine_is_started_on_a_device_that_somebody_holds(machine: Machine, gpus: Gpus) -> None:
    machine.variables["PATH"] = gpus.path
    machine.start_worker()
    gpus.say({ONE: 5_000, TWO: 23_900}, apps=f"{ONE}, 4242\n")
    machine.start_replica(devices=(ONE,))
    refused = machine.await_state(S.EXITED)
    assert refused.failure is FailureReason.LAUNCH_REFUSED
    assert "4242" in refused.message


@pytest.mark.anyio
async def test_row_29_a_device_whose_memory_stays_away_is_not_offered_until_it_is_back(
    gpus: Gpus, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "MEMORY_BACK_WAIT_S", 0.1)
    gpus.say({ONE: 5_000, TWO: 23_900})
    said = await ending.memory_back(ledger, (ONE,))
    assert said is not None
    ledger.set_ill((ONE,))
    assert [device.healthy for device in ledger.capacity.devices] == [False, True]
    assert not await ledger.recover()
    gpus.say({ONE: 23_900, TWO: 23_900})
    assert await ledger.recover()
    assert [device.healthy for device in ledger.capacity.devices] == [True, True]
