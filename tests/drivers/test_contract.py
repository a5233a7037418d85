"""One suite for every driver: the pretended machines, and this machine through a real host worker."""

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import msgspec
import pytest

from fleetform.domain.machine import EngineSpec, Shape
from fleetform.domain.protocol import (
    PROTOCOL_VERSION,
    ArtifactReport,
    ArtifactState,
    Command,
    CommandRequest,
    ForgetReplica,
    HostReplica,
    HostReplicaState,
    HostReport,
    StartReplica,
    StopReplica,
    VerifyArtifact,
)
from fleetform.domain.replica import Member
from fleetform.drivers.base import Driver, Members, Refused
from fleetform.drivers.fake import FakeDriver
from fleetform.drivers.local import LocalDriver
from fleetform.errors import HostUnreachable, NotLeader
from fleetform.gateway.snapshot import Access, Applied, EndpointRoute, NeedsFull, SnapshotUpdate, Superseded, TrustedRegion
from tests.builders import a_host, a_start_command
from tests.host.machine import STUB_ARGV, Machine

pytestmark = pytest.mark.anyio
S = HostReplicaState
EPOCH = 7


class Case:
    """A driver with one host behind it. artifact, manifest: what can be started there. prefix: where artifacts may lie."""

    def __init__(self, driver: Driver, host: str, start: Callable[[str], StartReplica], artifact: str, prefix: str) -> None:
        self.driver, self.host, self.start, self.artifact, self.prefix = driver, host, start, artifact, prefix
        self.since = 0

    async def send(self, command: Command, command_id: str, epoch: int = EPOCH) -> bool:
        request = CommandRequest(protocol_version=PROTOCOL_VERSION, epoch=epoch, command_id=command_id, command=command)
        return (await self.driver.command(self.host, request)).repeated

    async def observe(self) -> HostReport:
        report = await self.driver.observe(self.host, self.since, 1.0)
        self.since = report.seq
        return report

    async def replica(self, state: HostReplicaState, replica_id: str = "r1") -> HostReplica:
        """The replica once it is in that state."""
        with anyio.fail_after(30):
            while True:
                for replica in (await self.observe()).replicas:
                    if replica.replica_id == replica_id and replica.state is state:
                        return replica

    async def verdict(self) -> ArtifactReport:
        with anyio.fail_after(30):
            while True:
                for report in (await self.observe()).artifacts:
                    if report.state is not ArtifactState.VERIFYING:
                        return report


def a_start(template: StartReplica, replica_id: str, host: str) -> StartReplica:
    return msgspec.structs.replace(template, replica_id=replica_id, members=(Member(host=host),))


@pytest.fixture(params=["fake", "local"])
async def case(request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    with contextlib.ExitStack() as stack:
        if request.param == "fake":
            driver: Driver = FakeDriver(hosts=(a_host("host-1", gpus=2),))
            artifact, template = "file:///models/m1", a_start_command()
        else:
            machine = stack.enter_context(Machine())
            machine.start_worker()
            driver = LocalDriver(machine.settings.host_socket)
            artifact, manifest = machine.model("m1")
            template = machine.start_command("r1", artifact, manifest, engine=EngineSpec(argv=STUB_ARGV))
        (host,) = await driver.hosts()
        prefix = artifact.rstrip("/").rpartition("/")[0] + "/"
        yield Case(driver, host, lambda replica_id: a_start(template, replica_id, host), artifact, prefix)
        await driver.close()


async def test_a_replica_starts_stops_and_is_forgotten(case: Case) -> None:
    assert await case.send(case.start("r1"), "start-r1") is False
    serving = await case.replica(S.SERVING)
    assert serving.address is not None
    await case.send(StopReplica(replica_id="r1", drain_timeout_s=0), "stop-r1")
    await case.replica(S.EXITED)
    await case.send(ForgetReplica(replica_id="r1"), "forget-r1")
    with anyio.fail_after(10):
        while "r1" not in (await case.observe()).removed:
            pass
    everything = await case.driver.observe(case.host, 0, 0.0)
    assert everything.full
    assert everything.replicas == ()


async def test_a_repeated_command_does_nothing_again(case: Case) -> None:
    assert await case.send(case.start("r1"), "start-r1") is False
    assert await case.send(case.start("r1"), "start-r1") is True
    await case.replica(S.SERVING)
    everything = await case.driver.observe(case.host, 0, 0.0)
    assert [replica.replica_id for replica in everything.replicas] == ["r1"]


async def test_a_lower_epoch_is_refused(case: Case) -> None:
    await case.send(ForgetReplica(replica_id="r9"), "forget-r9")
    with pytest.raises(NotLeader):
        await case.send(case.start("r1"), "start-r1", epoch=EPOCH - 1)
    assert (await case.driver.observe(case.host, 0, 0.0)).replicas == ()


async def test_a_host_that_speaks_another_version_takes_no_leadership(case: Case) -> None:
    """Who leads would be refused all the same: it is the host that cannot be spoken to."""
    request = CommandRequest(protocol_version=99, epoch=EPOCH, command_id="start-r1", command=case.start("r1"))
    with pytest.raises(HostUnreachable, match="99"):
        await case.driver.command(case.host, request)


async def test_reports_are_deltas_and_nothing_new_is_an_empty_one(case: Case) -> None:
    await case.send(case.start("r1"), "start-r1")
    await case.replica(S.SERVING)
    await case.send(case.start("r2"), "start-r2")
    report = await case.observe()
    assert {replica.replica_id for replica in report.replicas} == {"r2"}
    await case.replica(S.SERVING, "r2")
    while (quiet := await case.observe()).replicas:
        pass
    assert not quiet.full


async def test_an_artifact_is_verified_once_and_its_manifest_told(case: Case) -> None:
    command = VerifyArtifact(version_uid="v1", artifact=case.artifact, prefixes=(case.prefix,), engine="stub", runtime="cpu")
    await case.send(command, "verify-v1")
    report = await case.verdict()
    assert (report.version_uid, report.state) == ("v1", ArtifactState.VERIFIED), report.message
    assert report.manifest is not None
    assert report.manifest.digest


async def test_an_artifact_with_another_digest_than_expected_is_refused(case: Case) -> None:
    command = VerifyArtifact(
        version_uid="v1", artifact=case.artifact, prefixes=(case.prefix,), expected_digest="0" * 64, engine="stub", runtime="cpu"
    )
    await case.send(command, "verify-v1")
    report = await case.verdict()
    assert (report.state, report.reason) == (ArtifactState.REFUSED, "DigestMismatch")


async def test_a_reservation_names_its_members_or_says_why_not(case: Case) -> None:
    shape = Shape(cpu_millis=100, memory_mib=100)
    granted = await case.driver.reserve("r1", shape, Member(host=case.host))
    assert granted == Members(members=(Member(host=case.host),))
    assert await case.driver.reserve("r1", shape, Member(host=case.host)) == granted
    assert isinstance(await case.driver.reserve("r2", shape, Member(host="elsewhere")), Refused)
    assert isinstance(await case.driver.reserve("r3", shape, Member(host=case.host, devices=("GPU-none",))), Refused)
    await case.driver.release("r1")


async def test_updates_of_the_snapshot_follow_each_other(case: Case) -> None:
    def update(version: int, base: int, epoch: int = EPOCH) -> SnapshotUpdate:
        route = EndpointRoute(project="acme", endpoint=f"e{version}", generation=1, created=0)
        access = Access(home=TrustedRegion(region="local", jwks='{"keys":[]}'))
        return SnapshotUpdate(epoch=epoch, version=version, base=base, upsert=(route,), access=access)

    assert await case.driver.publish(case.host, update(5, 0)) == Applied(epoch=EPOCH, version=5)
    assert await case.driver.publish(case.host, update(5, 0)) == Applied(epoch=EPOCH, version=5, repeated=True)
    assert await case.driver.publish(case.host, update(9, 4)) == NeedsFull(epoch=EPOCH, version=5)
    assert isinstance(await case.driver.publish(case.host, update(4, 5)), Superseded)
    assert await case.driver.publish(case.host, update(9, 5)) == Applied(epoch=EPOCH, version=9)
    with anyio.fail_after(10):
        while (gateway := (await case.observe()).gateway) is None or gateway.version != 9:
            pass


async def test_one_replica_can_be_asked_for(case: Case) -> None:
    assert await case.driver.replica(case.host, "r1") is None
    await case.send(case.start("r1"), "start-r1")
    serving = await case.replica(S.SERVING)
    found = await case.driver.replica(case.host, "r1")
    assert found is not None
    assert (found.replica_id, found.state, found.members, found.address) == ("r1", S.SERVING, serving.members, serving.address)


async def test_the_load_names_its_host(case: Case) -> None:
    """What has not been measured is not told: neither host has a proxy that was looked at, or an engine that says something."""
    load = await case.driver.load(case.host)
    assert load.host == case.host
    assert load.gateway is None or (load.gateway.endpoints, load.gateway.replicas) == ((), ())


async def test_windows_of_an_endpoint_that_nobody_asked_are_empty(case: Case) -> None:
    since = datetime.now(UTC) - timedelta(minutes=2)
    found = await case.driver.windows(case.host, "acme/chat", since)
    assert found.tracks == ()
    assert await case.driver.recent(case.host, 60) == {}
    assert since <= found.since <= found.until <= datetime.now(UTC) + timedelta(seconds=5)


async def test_the_log_of_an_engine_can_be_read(case: Case) -> None:
    await case.send(case.start("r1"), "start-r1")
    await case.replica(S.SERVING)
    assert (await case.driver.log(case.host, "r1", 10)).replica_id == "r1"


async def test_a_machine_without_a_worker_is_unreachable(tmp_path: Path) -> None:
    driver = LocalDriver(tmp_path / "none.sock")
    with pytest.raises(HostUnreachable):
        await driver.hosts()
    with pytest.raises(HostUnreachable):
        await driver.observe("host-1", 0, 0.0)
    await driver.close()
