"""One endpoint from its declaration to its tombstone, over the real database and pretended machines."""

from pathlib import Path

import pytest

from fleetform.store import database, endpoints, models
from fleetform.store.writing import ANY
from tests.reconciler.region import a_region

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def test_create_serve_and_delete(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        region.start()
        await region.register("v1")
        await region.apply(replicas=2)
        found = await region.settled()
        assert found.status.ready
        assert found.status.replicas.ready == 2
        assert region.weights() == {"v1": 100}

        await endpoints.delete("acme", "chat", ANY, region.now)
        await region.gone()
        assert region.driver.running() == {}
        for table in ("replica", "reservation", "device_reservation", "endpoint_version"):
            assert await database.rows(f"SELECT * FROM {table}") == []
        assert region.driver.snapshot().routes == {}


async def test_a_changed_version_moves_the_traffic_and_the_old_one_leaves_after_its_bake(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        region.start()
        for version in ("v1", "v2"):
            await region.register(version)
        await region.apply(rollout={"bake_s": 600})
        first = await region.settled()
        await region.apply(weights={"v2": 100}, rollout={"bake_s": 600, "steps": [10, 100]})
        second = await region.settled()
        assert (first.status.ready, second.status.ready) == (True, True)
        assert second.status.live is not None
        assert list(second.status.live.variants) == ["v2"]
        assert region.weights() == {"v2": 100}
        assert len(region.driver.running()) == 2, "the old replica is kept warm"

        held = await database.rows("SELECT held_by FROM endpoint_version ORDER BY held_by")
        assert [row["held_by"] for row in held] == ["bake", "spec"]

        region.pass_time(601)

        async def one_left() -> bool:
            return len(region.driver.running()) == 1 and not await database.rows("SELECT 1 FROM endpoint_version WHERE held_by = 'bake'")

        await region.until("the old replica is gone", one_left)


async def test_deleting_a_version_that_only_a_bake_holds_ends_the_bake(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        region.start()
        for version in ("v1", "v2"):
            await region.register(version)
        await region.apply()
        await region.settled()
        await region.apply(weights={"v2": 100})
        await region.settled()
        await models.delete("acme", "m", "v1", ANY, region.now)

        async def one_left() -> bool:
            return len(region.driver.running()) == 1

        await region.until("the warm replica is gone", one_left)
        assert region.weights() == {"v2": 100}


async def test_more_and_fewer_replicas_in_place(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        region.start()
        await region.register("v1")
        await region.apply(instance_type="gpu-a10-1x", replicas=1)
        await region.settled()
        (first,) = region.driver.running()
        await region.apply(instance_type="gpu-a10-1x", replicas=3)
        await region.settled()
        assert len(region.driver.running()) == 3
        assert first in region.driver.running()
        devices = [device for r in region.driver.running().values() for member in r.members for device in member.devices]
        assert len(set(devices)) == 3

        await region.apply(instance_type="gpu-a10-1x", replicas=1)
        await region.settled()

        async def freed() -> bool:
            return len(await database.rows("SELECT * FROM device_reservation")) == 1

        await region.until("two devices are free again", freed)
        assert (await database.rows("SELECT booked FROM endpoint"))[0]["booked"] == 1


async def test_limits_and_labels_change_the_route_and_no_replica(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        region.start()
        await region.register("v1")
        await region.apply()
        await region.settled()
        before = region.driver.running().keys()
        await region.apply(request_timeout_s=17, logging={"content": "off"}, labels={"team": "a"})
        found = await region.settled()
        assert found.status.ready
        route = region.driver.snapshot().routes["acme/chat"]
        assert (route.request_timeout_s, route.log_content) == (17, "off")
        assert region.driver.running().keys() == before
