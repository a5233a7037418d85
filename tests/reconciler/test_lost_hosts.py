"""A host that falls silent for good, and comes back, over the real loop. The gateway is on the other one."""

from pathlib import Path

import pytest

from fleetform.domain.protocol import HostReplicaState
from fleetform.drivers.pretended import Script
from fleetform.store import database
from tests.builders import a_host
from tests.reconciler.region import Region, a_region

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
HOSTS = (a_host("host-1", gpus=4), a_host("host-2", gpus=4))


def on(region: Region, host: str) -> set[str]:
    """Replicas whose engine serves there, whether or not anybody can ask."""
    found = region.driver.running().items()
    return {i for i, r in found if r.members[0].host == host and r.state is HostReplicaState.SERVING}


async def spread(region: Region) -> None:
    region.start()
    await region.register("v1")
    await region.apply(replicas=2, instance_type="gpu-a10-1x")
    await region.settled()
    assert (len(on(region, "host-1")), len(on(region, "host-2"))) == (1, 1)


async def lose(region: Region) -> None:
    """host-2 falls silent, and after the time that it may be, what it ran serves on host-1."""
    region.driver.script = Script(lost=("host-2",))

    async def silent() -> bool:
        term = region.reconciler.term
        return term is not None and not term.sight.is_reachable("host-2")

    await region.until("the silence is noticed", silent)
    await region.quiet()
    assert len(on(region, "host-1")) == 1
    region.pass_time(60)

    async def replaced() -> bool:
        return len(on(region, "host-1")) == 2

    await region.until("another serves in its place", replaced)


async def test_what_a_lost_host_ran_starts_elsewhere_and_nothing_is_there_twice_when_it_is_back(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store, hosts=HOSTS) as region:
        await spread(region)
        before = on(region, "host-2")
        await lose(region)
        assert on(region, "host-2") == before, "nobody can tell, and nobody was told"
        await region.quiet()
        region.driver.script = Script()

        async def healed() -> bool:
            return len(region.driver.running()) == 2

        await region.until("what is too much has stopped", healed)
        await region.quiet()
        assert len(await database.rows("SELECT * FROM reservation")) == 2
        assert len(await database.rows("SELECT * FROM replica")) == 2


async def test_the_next_server_knows_that_a_host_is_lost(store: str, tmp_path: Path) -> None:
    """It starts nothing a second time, though it has itself waited for no host yet."""
    async with a_region(tmp_path, store, hosts=HOSTS) as region:
        await spread(region)
        await lose(region)
        await region.quiet()
        await region.kill()
        born = len(await database.rows("SELECT * FROM replica"))
        region.reconciler = region.a_reconciler()
        region.start()

        async def leads() -> bool:
            return region.reconciler.term is not None and not region.reconciler.term.sight.is_reachable("host-2")

        await region.until("it leads", leads)
        await region.quiet()
        assert len(await database.rows("SELECT * FROM replica")) == born
        assert len(on(region, "host-1")) == 2


async def test_a_gateway_that_never_comes_back_holds_up_no_rollout_for_ever(store: str, tmp_path: Path) -> None:
    hosts = (a_host("host-1"), a_host("host-2", cpu_millis=100))
    async with a_region(tmp_path, store, hosts=hosts, gateways=2) as region:
        region.start()
        await region.register("v1")
        await region.apply()
        await region.settled()
        region.driver.script = Script(lost=("host-2",))
        await region.register("v2")
        await region.apply(weights={"v2": 100})
        term = region.reconciler.term
        assert term is not None

        async def silent() -> bool:
            return not term.sight.is_reachable("host-2") and len(region.driver.running()) == 2

        await region.until("the silence is noticed, and the new version serves", silent)
        await region.quiet()
        assert region.weights() == {"v1": 100}, "it may be cut off from here alone, and would not know the new replica"
        region.pass_time(900)
        await term.scaler.look()
        found = await region.settled()
        assert found.status.ready
        assert region.weights() == {"v2": 100}
