"""Replicas that wear out: by what gateways have counted, also when the server dies in the middle of the exchange."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetform.domain.load import EngineLoad, GatewayLoad, HostLoad, ReplicaLoad
from fleetform.store import events
from tests.reconciler.region import Region, a_region

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
HOST = "host-1"


def measured(region: Region, served: dict[str, int], memory_mib: int | None = None, at: datetime | None = None) -> None:
    """The gateway says how many requests have ended at each replica, and the host how much memory each has."""
    now = datetime.now(UTC)
    replicas = tuple(ReplicaLoad(replica_id=replica_id, in_flight=0, served=count) for replica_id, count in served.items())
    gateway = GatewayLoad(at=now, since=now - timedelta(hours=1), replicas=replicas)
    engines = tuple(EngineLoad(replica_id=replica_id, at=at or now, memory_mib=memory_mib) for replica_id in served)
    region.driver.measured[HOST] = HostLoad(host=HOST, gateway=gateway, engines=engines)


async def look(region: Region) -> None:
    """One round of measurements, and what follows from it."""
    assert region.reconciler.term is not None
    await region.reconciler.term.scaler.look()
    await region.quiet()


async def exchanged(region: Region, old: str) -> None:
    async def probe() -> bool:
        running = region.driver.running()
        return old not in running and len(running) == 1

    await region.until(f"{old} is replaced", probe)


async def test_a_replica_is_replaced_after_its_requests_and_the_endpoint_tells(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        region.start()
        await region.register("v1")
        await region.apply(max_requests_per_replica=20)
        endpoint = await region.settled()
        (old,) = region.driver.running()
        measured(region, {old: 20})
        await look(region)
        await exchanged(region, old)
        found = (await events.page(endpoint.metadata.uid, 100, None)).items
        assert any(event.reason == "ReplicaRecycled" and "20 requests" in event.message for event in found)


async def test_the_exchange_goes_on_under_the_next_server(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        region.start()
        await region.register("v1")
        await region.apply(max_requests_per_replica=20)
        await region.settled()
        (old,) = region.driver.running()
        region.driver.steps = False
        measured(region, {old: 20})
        await look(region)

        async def begun() -> bool:
            return len(region.driver.running()) == 2

        await region.until("a successor starts", begun)
        await region.kill()
        region.driver.measured.clear()
        region.driver.steps = True
        region.start(region.a_reconciler())
        await exchanged(region, old)


async def test_without_a_limit_nobody_counts(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        region.start()
        await region.register("v1")
        await region.apply()
        await region.settled()
        (old,) = region.driver.running()
        measured(region, {old: 10**9})
        await look(region)
        assert list(region.driver.running()) == [old]


@pytest.mark.parametrize("set_back_s", [0, 3600])
async def test_memory_that_only_grows_wears_a_replica_out(store: str, tmp_path: Path, set_back_s: int) -> None:
    """Also where the server's clock is set back meanwhile."""
    async with a_region(tmp_path, store) as region:
        region.start()
        await region.register("v1")
        await region.apply()
        await region.settled()
        (old,) = region.driver.running()
        begun = datetime.now(UTC)
        for number in range(30):
            measured(region, {old: 1}, memory_mib=800 + 7 * number, at=begun + timedelta(seconds=30 * number))
            await look(region)
            region.pass_time(30 - set_back_s if number == 2 else 30)
            await region.quiet()
        await exchanged(region, old)
