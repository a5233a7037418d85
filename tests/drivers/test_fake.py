"""What the pretended machines do beyond the contract: they remember, and go wrong as they are told."""

from pathlib import Path

import msgspec
import pytest

from fleetform.domain.protocol import PROTOCOL_VERSION, CommandRequest, ForgetReplica, HostReplicaState
from fleetform.domain.replica import FailureReason
from fleetform.drivers import fake, pretended
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


async def test_a_script_that_is_removed_heals_what_it_had_broken(tmp_path: Path) -> None:
    script = tmp_path / "fake-script.json"
    script.write_bytes(msgspec.json.encode(Script(lost=("host-1",))))
    driver = FakeDriver(tmp_path, HOSTS)
    with pytest.raises(HostUnreachable):
        await driver.observe("host-1", 0, 0.0)
    script.unlink()
    assert (await driver.observe("host-1", 0, 0.0)).host == "host-1"
    await driver.close()


async def test_who_is_killed_while_the_journal_is_shortened_loses_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = FakeDriver(tmp_path, HOSTS)
    await first.command("host-1", a_start("r1"))
    await first.close()

    def half(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(Path, "write_bytes", half)
        FakeDriver(tmp_path, HOSTS)
    second = FakeDriver(tmp_path, HOSTS)
    assert set(second.running()) == {"r1"}
    await second.close()


async def test_a_host_that_runs_for_long_remembers_the_newest_of_the_past(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (fake, pretended):
        monkeypatch.setattr(module, "KEPT", 10)
    driver = FakeDriver(hosts=HOSTS)
    for number in range(20):
        await driver.command("host-1", a_start(f"r{number}"))
        forget = ForgetReplica(replica_id=f"r{number}")
        await driver.command("host-1", CommandRequest(protocol_version=1, epoch=1, command_id=f"forget-{number}", command=forget))
    assert len(driver.commands) == 10
    report = await driver.observe("host-1", 1, 0.0)
    assert report.removed == tuple(f"r{number}" for number in range(10, 20))
    again = CommandRequest(protocol_version=1, epoch=1, command_id="forget-19", command=ForgetReplica(replica_id="r19"))
    assert (await driver.command("host-1", again)).repeated
