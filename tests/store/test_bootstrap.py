"""What a region has from its first start."""

from pathlib import Path

import pytest

from fleetform import credentials as signing
from fleetform import settings
from fleetform.domain.machine import InstanceTypeSpec
from fleetform.store import bootstrap, credentials, database, machines, projects
from fleetform.store.writing import ANY
from tests.builders import NOON

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def test_a_second_start_leaves_what_the_administrators_made(store: str) -> None:
    await bootstrap.ensure_region(NOON)
    changed = InstanceTypeSpec(cpu_millis=250, memory_mib=1024)
    await machines.put_instance_type("cpu-small", changed, ANY, NOON)
    await bootstrap.ensure_region(
        NOON, {"gpu-a10-1x": InstanceTypeSpec(cpu_millis=1, memory_mib=1, accelerator="a10", accelerator_count=1)}
    )
    assert (await machines.get_instance_type("cpu-small")).spec == changed
    assert (await machines.get_instance_type("gpu-a10-1x")).spec.accelerator == "a10"
    assert (await projects.get("system")).metadata.generation == 1


async def test_the_administrators_key_is_one_of_the_region_and_earlier_ones_stay(store: str, tmp_path: Path) -> None:
    loaded = settings.load({"FLEETFORM_HOME": str(tmp_path)})
    key = signing.load_or_create(loaded.signing_key)
    minted = [await bootstrap.mint_admin(loaded, key, NOON) for _ in range(2)]
    for each in minted:
        caller = await credentials.caller(key.verify(each.secret, "local", NOON).jti, NOON)
        assert caller.is_region_admin
        assert (each.expires_at - NOON).days == 90
        assert each.secret not in repr(each)


async def test_no_secret_is_in_the_database(store: str, tmp_path: Path) -> None:
    loaded = settings.load({"FLEETFORM_HOME": str(tmp_path)})
    minted = await bootstrap.mint_admin(loaded, signing.load_or_create(loaded.signing_key), NOON)
    for table in await database.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        stored = await database.rows(f"SELECT t::text AS line FROM {table['tablename']} t")
        assert not any(part in row["line"] for row in stored for part in minted.secret.split("."))
