"""Engines that sleep, in a whole region: they go with what they could be woken for, and tell nothing of what a start takes."""

from pathlib import Path

import msgspec
import pytest

from fleetform.domain.protocol import EvictSleeping, SleepingEngine
from fleetform.drivers.pretended import Script
from fleetform.store import database, endpoints
from fleetform.store.writing import ANY
from tests.reconciler.region import Region, a_region

pytestmark = [pytest.mark.postgres, pytest.mark.anyio]
TYPE = "gpu-a10-1x"


def asleep(region: Region) -> dict[str, SleepingEngine]:
    return {engine_id: e for host in region.driver._hosts.values() for engine_id, e in host.sleepers.by_id.items()}


async def one_sleeps(region: Region) -> SleepingEngine:
    """An endpoint of two replicas that has one now, and the engine of the other."""
    await region.register("v1")
    region.start()
    await region.apply(instance_type=TYPE, replicas=2)
    await region.settled()
    await region.apply(instance_type=TYPE, replicas=1)

    async def slept() -> SleepingEngine | None:
        return next(iter(asleep(region).values()), None)

    engine = await region.until("an engine sleeps", slept)
    await region.quiet()
    return engine


async def test_a_replica_comes_back_to_the_engine_that_sleeps(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        engine = await one_sleeps(region)
        await region.apply(instance_type=TYPE, replicas=2)
        await region.settled()
        assert asleep(region) == {}
        entries = [entry for host in region.driver._hosts.values() for entry in host.entries.values()]
        woken = [entry for entry in entries if entry.engine is not None and entry.engine.engine_id == engine.engine_id]
        (replica,) = [entry.replica for entry in woken if entry.replica is not None and entry.replica_id != engine.engine_id]
        assert replica.members[0].devices == engine.devices


async def test_an_endpoint_is_gone_only_when_nothing_of_it_sleeps(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await one_sleeps(region)
        await endpoints.delete("acme", "chat", ANY, region.now)
        await region.gone()
        assert asleep(region) == {}
        assert any(isinstance(request.command, EvictSleeping) for request in region.driver.commands)


async def test_what_sleeps_for_nobody_is_ended_by_the_slow_pass(store: str, tmp_path: Path) -> None:
    """An endpoint may be deleted while a host is away of which no server remembers what sleeps there."""
    async with a_region(tmp_path, store) as region:
        engine = await one_sleeps(region)
        stranger = msgspec.structs.replace(engine, engine_id="r0", endpoint_uid="00000000-0000-0000-0000-000000000000")
        host = next(iter(region.driver._hosts.values()))
        host.sleepers.put(stranger, host.touch())
        await region.kill()
        region.reconciler = region.a_reconciler()
        region.start()

        async def ended() -> bool:
            return "r0" not in asleep(region)

        await region.until("it is ended", ended)
        assert engine.engine_id in asleep(region), "that one may be woken"


async def test_a_host_that_is_away_holds_up_a_deletion(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        engine = await one_sleeps(region)
        region.driver.script = Script(lost=("host-1",))
        await endpoints.delete("acme", "chat", ANY, region.now)
        await region.until("the host is away", lambda: away(region))
        region.driver.script = Script()
        await region.gone()
        assert engine.engine_id not in asleep(region)


async def away(region: Region) -> bool:
    return region.reconciler.term is not None and not region.reconciler.term.sight.is_reachable("host-1")


async def test_a_woken_start_is_not_learned_from(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await one_sleeps(region)
        written = "SELECT seconds FROM start_time"
        assert len(await database.rows(written)) == 2
        await region.apply(instance_type=TYPE, replicas=3)
        await region.settled()
        await region.quiet()
        assert len(await database.rows(written)) == 3, "one was woken, one was started"
