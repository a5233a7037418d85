"""What the reconciler reserves: a device once, and no more than host and quota have."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from fleetform.domain.machine import Reservation
from fleetform.domain.project import QuotaSpec
from fleetform.domain.replica import Member, Replica, ReplicaPhase
from fleetform.errors import AppError
from fleetform.store import database, fleet, hosts, quotas, recording
from fleetform.store.lease import Claim
from fleetform.store.recording import Changes, NewReplica, Overtaken
from fleetform.store.writing import ANY
from tests.builders import NOON, a_host
from tests.reconciler.region import ADMIN, Region, a_region

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


class Scene:
    """A region whose loop does not run; the test writes in its place."""

    def __init__(self, region: Region, claim: Claim) -> None:
        self.region, self.claim = region, claim

    async def endpoint(self, name: str) -> fleet.EndpointFacts:
        uid = str((await self.region.apply(name, instance_type="gpu-a10-1x")).metadata.uid)
        facts = await fleet.load(uid)
        assert facts is not None
        return facts

    async def reserve(
        self, facts: fleet.EndpointFacts, replica_id: str, device: str, memory_mib: int = 1024, instance_type: str = "gpu-a10-1x"
    ) -> None:
        member = Member(host="host-1", devices=(device,))
        replica = Replica(
            replica_id=replica_id,
            endpoint_uid=facts.desired.uid,
            track="v1.0",
            model_version="m:v1",
            generation=1,
            phase=ReplicaPhase.PLACING,
            members=(member,),
            nonce="n",
            created_at=NOON,
            changed_at=NOON,
        )
        reservation = Reservation(replica_id=replica_id, host="host-1", cpu_millis=500, memory_mib=memory_mib, devices=(device,))
        new = NewReplica(replica=replica, reservation=reservation, instance_type=instance_type)
        await recording.record(facts, Changes(reserved=(new,)), self.claim.shard, self.claim.epoch, NOON)


@pytest.fixture
async def scene(store: str, tmp_path: Path) -> AsyncIterator[Scene]:
    async with a_region(tmp_path, store) as region:
        await region.register("v1")
        await hosts.save(a_host(gpus=4, memory_mib=4096), "boot", NOON)
        claim = Claim(store, "default", "test")
        await claim.take()
        yield Scene(region, claim)
        await claim.give_up()


async def test_a_device_is_never_given_twice(scene: Scene) -> None:
    found = [await scene.endpoint(f"e{number}") for number in range(4)]

    async def attempt(number: int) -> bool:
        try:
            await scene.reserve(found[number], f"r{number}", "GPU-host-1-0")
        except Overtaken:
            return False
        return True

    assert sorted(await asyncio.gather(*map(attempt, range(4)))) == [False, False, False, True]
    assert len(await database.rows("SELECT * FROM device_reservation")) == 1
    assert len(await database.rows("SELECT * FROM replica")) == 1, "what is refused leaves nothing behind"


async def test_memory_is_not_given_twice(scene: Scene) -> None:
    first, second = await scene.endpoint("one"), await scene.endpoint("two")
    await scene.reserve(first, "r1", "GPU-host-1-0", memory_mib=3000)
    with pytest.raises(Overtaken):
        await scene.reserve(second, "r2", "GPU-host-1-1", memory_mib=3000)


async def test_the_quota_holds_for_what_is_above_the_floor(scene: Scene) -> None:
    await quotas.put("acme", "gpu-a10-1x", QuotaSpec(max_replicas=2), ADMIN, ANY, NOON)
    first = await scene.endpoint("one")
    await scene.endpoint("two")
    await scene.reserve(first, "r1", "GPU-host-1-0")
    again = await fleet.load(first.desired.uid)
    assert again is not None
    with pytest.raises(Overtaken):
        await scene.reserve(again, "r2", "GPU-host-1-1")
    await quotas.put("acme", "gpu-a10-1x", QuotaSpec(max_replicas=3), ADMIN, ANY, NOON)
    await scene.reserve(again, "r2", "GPU-host-1-1")


async def test_the_floor_of_the_wanted_instance_type_is_none_of_another_one(scene: Scene) -> None:
    """While an endpoint moves to another type, or was turned back from it, it starts replicas of the type before too."""
    facts = await scene.endpoint("one")
    await quotas.put("acme", "cpu-small", QuotaSpec(max_replicas=0), ADMIN, ANY, NOON)
    with pytest.raises(Overtaken):
        await scene.reserve(facts, "r1", "GPU-host-1-0", instance_type="cpu-small")
    found = await fleet.capacity("acme", "gpu-a10-1x", ("cpu-small",))
    assert found.free_elsewhere == {"cpu-small": 0}
    await quotas.put("acme", "cpu-small", QuotaSpec(max_replicas=3), ADMIN, ANY, NOON)
    await scene.reserve(facts, "r1", "GPU-host-1-0", instance_type="cpu-small")
    assert (await fleet.capacity("acme", "gpu-a10-1x", ("cpu-small",))).free_elsewhere == {"cpu-small": 2}


async def test_a_host_is_written_only_when_it_differs(scene: Scene) -> None:
    host = a_host("other", gpus=1)
    assert await hosts.save(host, "boot", NOON)
    assert not await hosts.save(host, "boot", NOON)
    assert not await hosts.save(msgspec.structs.replace(host, reachable=False), "boot", NOON)
    assert await hosts.save(host, "another boot", NOON)


async def test_an_error_that_is_not_ours_rolls_back_too(scene: Scene) -> None:
    facts = await scene.endpoint("one")
    await scene.reserve(facts, "r1", "GPU-host-1-0")
    with pytest.raises(AppError):
        await scene.reserve(facts, "r1", "GPU-host-1-1")
    assert [row["device"] for row in await database.rows("SELECT device FROM device_reservation")] == ["GPU-host-1-0"]
