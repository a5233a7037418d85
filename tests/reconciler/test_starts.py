"""What starts took is written once per start, bounded, and known to the next leader."""

from pathlib import Path
from uuid import uuid4

import pytest

from fleetform.planner.starts import learned
from fleetform.reconciler.starts import Starts
from fleetform.store import database, fleet, starts
from fleetform.store.starts import KEPT, Started
from tests.builders import NOON
from tests.reconciler.region import a_region

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def test_every_start_is_learned_once_and_known_to_a_new_leader(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        region.start()
        await region.register("v1")
        found = await region.apply(replicas=2)
        await region.settled()
        await region.quiet()
        written = await database.rows("SELECT model_version, instance_type, seconds FROM start_time")
        assert [(row["model_version"], row["instance_type"]) for row in written] == [("m:v1", "cpu-small")] * 2
        assert all(row["seconds"] >= 0 for row in written)

        facts = await fleet.load(str(found.metadata.uid))
        assert facts is not None
        assert facts.rollout is not None
        [track] = facts.rollout.tracks
        times = await Starts().of(facts)
        assert times == {track: learned([row["seconds"] for row in written])}


@pytest.mark.usefixtures("store")
async def test_of_each_version_and_instance_type_the_last_are_kept() -> None:
    one, other = str(uuid4()), str(uuid4())

    def start(uid: str, instance_type: str, seconds: float) -> Started:
        return Started(version_uid=uid, model_version="m:v1", instance_type=instance_type, seconds=seconds)

    await starts.write([start(other, "small", 1), start(one, "large", 2)], NOON)
    for number in range(KEPT + 10):
        await starts.write([start(one, "small", number)], NOON)
    found = await starts.known()
    kept = [s.seconds for s in found if (s.version_uid, s.instance_type) == (one, "small")]
    assert kept == list(range(10, KEPT + 10))
    assert len(found) == KEPT + 2


async def test_of_a_deleted_version_nothing_is_kept(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await region.register("v1")
        [row] = await database.rows("SELECT uid FROM model_version")
        await starts.write([Started(version_uid=str(row["uid"]), model_version="m:v1", instance_type="small", seconds=1)], NOON)
        assert len(await starts.known()) == 1
        await database.rows("UPDATE model_version SET deleted_at = now()")
        assert await starts.known() == []
        assert await database.rows("SELECT 1 FROM start_time") == []
