"""One endpoint from its declaration to its tombstone, over the real database and pretended machines."""

from pathlib import Path

import pytest

from fleetform.store import database, endpoints
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
