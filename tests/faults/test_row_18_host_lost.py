"""Row 18: a host is gone: it is told as unreachable, what it ran is replaced elsewhere, and nothing is there twice when it is back."""

from pathlib import Path

import pytest

from fleetform.domain.conditions import ConditionType, Reason, condition
from fleetform.drivers.pretended import Script
from fleetform.store import database, endpoints
from tests.builders import a_host
from tests.reconciler.region import Region, a_region

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
HOSTS = (a_host("host-1"), a_host("host-2"), a_host("host-3"))
LOST = "host-2"


async def reason(region: Region) -> Reason:
    """Of the endpoint's Degraded condition."""
    held = condition((await endpoints.get("acme", "chat")).status.conditions, ConditionType.DEGRADED)
    assert held is not None
    return held.reason


async def test_row_18_what_a_lost_host_ran_is_replaced_elsewhere_and_nothing_is_there_twice(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store, hosts=HOSTS) as region:
        region.start()
        await region.register("v1")
        await region.apply(replicas=3)
        assert (await region.settled()).status.ready
        before = {replica_id: replica.members[0].host for replica_id, replica in region.driver.running().items()}
        assert sorted(before.values()) == ["host-1", "host-2", "host-3"]

        region.driver.script = Script(lost=(LOST,))

        async def unreachable() -> bool:
            return await reason(region) is Reason.HOST_UNREACHABLE

        await region.until("the loss is told", unreachable)
        assert set(region.driver.running()) == set(before), "nothing is started for what may still run"
        region.pass_time(region.settings.host_lost_s + 1)

        async def replaced() -> bool:
            running = region.driver.running()
            others = [r for replica_id, r in running.items() if replica_id not in before and r.members[0].host != LOST]
            return len(others) == 1 and (await endpoints.get("acme", "chat")).status.replicas.ready == 3

        await region.until("it is replaced elsewhere", replaced)
        await region.quiet()
        held = await database.rows("SELECT count(*) AS count FROM reservation")
        assert held[0]["count"] <= 4, "the one that may still run holds its place, and nothing else is counted twice"

        region.driver.script = Script()

        async def back_to_three() -> bool:
            region.pass_time(5)
            running = region.driver.running()
            return len(running) == 3 and await reason(region) is Reason.NONE

        await region.until("what is too much has stopped", back_to_three)
        running = region.driver.running()
        route = region.driver.snapshot().routes["acme/chat"]
        routed = [target.replica_id for track in route.tracks for target in track.targets if not target.draining]
        assert sorted(routed) == sorted(running), "each once, and only what runs"
