"""What the pretended machines do beyond the contract: they remember, and go wrong as they are told."""

from pathlib import Path

import msgspec
import pytest

from fleetform.domain.protocol import PROTOCOL_VERSION, CommandRequest, HostReplicaState
from fleetform.domain.replica import FailureReason
from fleetform.drivers.fake import FakeDriver
from fleetform.drivers.pretended import Fault, Script
from fleetform.errors import HostUnreachable
from tests.builders import a_host, a_start_command

pytestmark = pytest.mark.anyio
S = HostReplicaState
HOSTS = (a_host("host-1"),)


def a_start(replica_id: str = "r1") -> CommandRequest:
    command = a_start_command(replica_id)
    return CommandRequest(protocol_version=PROTOCOL_VERSION, epoch=1, command_id=f"start-{replica_id}", command=command)


@pytest.mark.parametrize(
    ("fault", "state", "failure"),
    [
        (Fault.CRASH, S.EXITED, FailureReason.CRASHED),
        (Fault.OOM, S.EXITED, FailureReason.OOM_KILLED),
        (Fault.WRONG_MODEL, S.EXITED, FailureReason.WRONG_MODEL),
        (Fault.HANG, S.STARTING, None),
    ],
)
async def test_an_engine_goes_wrong_as_the_script_says(fault: Fault, state: HostReplicaState, failure: FailureReason | None) -> None:
    driver = FakeDriver(hosts=HOSTS, steps=False)
    driver.script = Script(engines={"m:v1": fault})
    await driver.command("host-1", a_start())
    for _ in range(5):
        driver.tick()
    (replica,) = (await driver.observe("host-1", 0, 0.0)).replicas
    assert (replica.state, replica.failure) == (state, failure)


async def test_a_slow_start_takes_as_many_steps_more() -> None:
    driver = FakeDriver(hosts=HOSTS, steps=False)
    driver.script = Script(slow=3)
    await driver.command("host-1", a_start())
    states = []
    for _ in range(6):
        driver.tick()
        states.append(next(iter(driver.running().values())).state)
    assert states == [S.STARTING] * 4 + [S.SERVING] * 2


async def test_a_lost_host_does_not_answer() -> None:
    driver = FakeDriver(hosts=HOSTS)
    driver.script = Script(lost=("host-1",))
    with pytest.raises(HostUnreachable):
        await driver.observe("host-1", 0, 0.0)
    with pytest.raises(HostUnreachable):
        await driver.command("host-1", a_start())


async def test_what_runs_is_found_again_by_another_process(tmp_path: Path) -> None:
    first = FakeDriver(tmp_path, HOSTS)
    await first.command("host-1", a_start("r1"))
    await first.command("host-1", a_start("r2"))
    first.tick()
    first.tick()
    first.end("r2")
    second = FakeDriver(tmp_path, HOSTS)
    found = {replica.replica_id: replica.state for replica in (await second.observe("host-1", 0, 0.0)).replicas}
    assert found == {"r1": S.SERVING, "r2": S.EXITED}
    await first.close()
    await second.close()


async def test_the_script_is_read_from_the_home_when_it_changes(tmp_path: Path) -> None:
    driver = FakeDriver(tmp_path, HOSTS)
    (tmp_path / "fake-script.json").write_bytes(msgspec.json.encode(Script(engines={"m:v1": Fault.CRASH})))
    await driver.command("host-1", a_start())
    for _ in range(3):
        await driver.observe("host-1", 0, 0.0)
    (replica,) = (await driver.observe("host-1", 0, 0.0)).replicas
    assert replica.failure is FailureReason.CRASHED
    await driver.close()
