"""The count of replicas over the real loop and database: it follows the load, rests, wakes, and costs nothing while nothing changes."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fleetform.domain.endpoint import Endpoint
from fleetform.domain.load import GatewayLoad, HostLoad
from fleetform.domain.scaling import ScalingReason
from fleetform.drivers.pretended import Script
from fleetform.planner.autoscale import desired_replicas
from fleetform.planner.demand import Policy
from fleetform.reconciler import scaling
from fleetform.store import database, endpoints, events, recording
from fleetform.store.writing import ANY
from tests.builders import a_host
from tests.reconciler.region import Region, a_region

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


@pytest.fixture(autouse=True)
def _looks_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look of its own between a step of the clock and the measurement that goes with it would find the load unknown."""
    monkeypatch.setattr(scaling, "TICK_S", 3600.0)


async def counted(region: Region, replicas: int, name: str = "chat") -> Endpoint:
    """The endpoint once it has exactly so many replicas, all of them ready."""

    async def probe() -> Endpoint | None:
        found = await endpoints.get("acme", name)
        has = found.status.replicas
        recorded = found.status.scaling is not None and found.status.scaling.replicas == replicas
        return found if recorded and (has.ready, has.starting, has.draining) == (replicas, 0, 0) else None

    return await region.until(f"{name} has {replicas} replicas", probe)


async def told(name: str = "chat") -> list[tuple[str, str]]:
    """What events say of the count, the oldest first."""
    found = (await events.page((await endpoints.uid_of("acme", name)), 200, None)).items
    return [
        (e.reason, e.message)
        for e in sorted(found, key=lambda e: e.seq)
        if e.reason in ("ScaledUp", "ScaledDown", "AtMaximum", "LoadUnknown")
    ]


async def served(region: Region, least: int = 1, most: int = 4, **fields: Any) -> None:
    region.start()
    await region.register("v1")
    await region.apply(scaling={"min_replicas": least, "max_replicas": most, **fields})
    await region.settled()


async def at_rest(region: Region, **fields: Any) -> None:
    """An endpoint that has proven itself and was idle for long enough."""
    await served(region, least=0, idle_s=60, **fields)
    await counted(region, 1)
    await region.measure(0.0, after_s=70, idle_s=70.0)
    await counted(region, 0)


async def test_the_count_follows_the_load_and_says_why(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await served(region)
        await region.measure(16.0)
        found = await counted(region, 3)
        assert found.status.scaling is not None
        assert found.status.scaling.message.startswith("16.0 requests under way or held on average over 60 s need room for 24.0")
        assert found.status.scaling.load is not None
        assert found.status.scaling.load.stable == 16.0

        for _ in range(12):
            await region.measure(1.0, after_s=28)
        await counted(region, 1)
        assert [reason for reason, _ in await told()] == ["ScaledUp", "ScaledDown"]


@pytest.mark.parametrize("least", [1, 2])
async def test_a_decision_made_while_a_pass_is_written_down_is_taken_by_the_next(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    """Also where that pass itself has changed the count."""
    write = recording.record

    async def measured(*written: Any) -> None:
        monkeypatch.setattr(recording, "record", write)
        await region.measure(16.0)
        await write(*written)

    async with a_region(tmp_path, store) as region:
        await served(region)
        await region.quiet()
        monkeypatch.setattr(recording, "record", measured)
        await region.apply(scaling={"min_replicas": least, "max_replicas": 4}, rollout={"bake_s": 5})
        await counted(region, 3)


async def test_nothing_is_written_while_the_load_stays_about_the_same(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await served(region)
        await region.measure(16.0)
        await counted(region, 3)
        await region.quiet()
        before = (await endpoints.get("acme", "chat")).status.revision
        for step in range(40):
            await region.measure(15.0 + step % 3)
        await region.quiet()
        assert (await endpoints.get("acme", "chat")).status.revision == before


async def test_it_rests_when_idle_and_a_held_request_wakes_it_by_push(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await at_rest(region)
        resting = await endpoints.get("acme", "chat")
        assert (resting.status.ready, resting.status.phase) == (True, "ScaledToZero")
        assert region.driver.running() == {}
        assert (await database.rows("SELECT count(*) AS n FROM reservation"))[0]["n"] == 0

        region.driver.hold("acme/chat", 2)
        woken = await counted(region, 1)
        assert woken.status.scaling is not None
        assert (woken.status.scaling.reason, woken.status.scaling.message) == (
            ScalingReason.WOKEN,
            "2 requests are held and nothing runs",
        )
        assert region.weights() == {"v1": 100}


async def test_a_request_that_was_held_before_the_server_started_wakes_too(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await at_rest(region)
        await region.kill()
        region.driver.hold("acme/chat", 1)
        region.start(region.reconciler)
        await counted(region, 1)


async def test_a_new_leader_keeps_the_count_until_it_knows_better(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await served(region)
        await region.measure(16.0)
        await counted(region, 3)
        await region.kill()
        region.reconciler = region.a_reconciler()
        region.start()

        async def leads() -> bool:
            term = region.reconciler.term
            return term is not None and bool(term.endpoints.keys)

        await region.until("the new leader has looked at all endpoints", leads)
        for _ in range(5):
            await region.measure(1.0)
        await counted(region, 3)


async def test_without_data_the_count_stays_and_that_is_said_once(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await served(region)
        await region.measure(16.0)
        await counted(region, 3)
        assert region.reconciler.term is not None
        for _ in range(10):
            region.pass_time(8)  # the gateway's word stays the same
            await region.reconciler.term.scaler.look()

        async def said() -> bool:
            return [reason for reason, _ in await told()] == ["ScaledUp", "LoadUnknown"]

        await region.until("missing data is told", said)
        found = await counted(region, 3)
        assert found.status.scaling is not None
        assert found.status.scaling.reason is ScalingReason.NO_DATA


async def test_a_gateway_whose_host_never_comes_back_is_not_waited_for(store: str, tmp_path: Path) -> None:
    hosts = (a_host("host-1"), a_host("host-2", cpu_millis=100))
    async with a_region(tmp_path, store, hosts=hosts) as region:
        await served(region)
        other = GatewayLoad(at=region.now, since=region.now - timedelta(hours=1))
        region.driver.measured["host-2"] = HostLoad(host="host-2", gateway=other)
        await region.measure(16.0)
        await counted(region, 3)
        region.driver.script = Script(lost=("host-2",))
        term = region.reconciler.term
        assert term is not None

        async def silent() -> bool:
            return not term.sight.is_reachable("host-2")

        await region.until("the silence is noticed", silent)
        term.scaler.waiting("host-2", {"acme/chat": 5})  # its last word
        for _ in range(40):
            await region.measure(1.0, after_s=22)
        await region.quiet()
        found = await counted(region, 3)
        assert found.status.scaling is not None
        assert (found.status.scaling.reason, "gateway host-2" in found.status.scaling.message) == (ScalingReason.NO_DATA, True)
        for _ in range(16):
            await region.measure(1.0, after_s=22)
        found = await counted(region, 1)
        assert found.status.scaling is not None
        assert found.status.scaling.message.endswith("; gateway host-2 has been silent for so long that nothing there is counted")
        assert found.status.scaling.load is not None
        assert found.status.scaling.load.queued == 0


async def test_changed_bounds_hold_at_once(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await served(region)
        await region.apply(scaling={"min_replicas": 3, "max_replicas": 4})
        await counted(region, 3)
        await region.apply(scaling={"min_replicas": 1, "max_replicas": 2})
        await counted(region, 2)
        assert await told() == [
            ("ScaledUp", "from 1 to 3 replicas: min_replicas is 3"),
            ("ScaledDown", "from 3 to 2 replicas: max_replicas is 2"),
        ]


async def test_a_schedule_changes_the_count_at_its_times(store: str, tmp_path: Path) -> None:
    day = {"cron": "0 18 * * *", "timezone": "Asia/Dhaka", "duration_s": 3600, "min_replicas": 3}
    async with a_region(tmp_path, store) as region:
        await served(region, most=4, schedule={"evening": day})
        await counted(region, 3)  # noon in UTC is 18:00 in Dhaka
        for _ in range(2):
            region.pass_time(1799)
        await region.quiet()
        await counted(region, 3)
        for _ in range(12):
            await region.measure(0.0, after_s=28)
        await counted(region, 1)


async def test_the_quota_limits_and_says_so(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await region.declare(max_replicas=2)
        await served(region)
        await region.measure(16.0)

        async def limited() -> bool:
            found = await endpoints.get("acme", "chat")
            return any(c.reason == "ScalingLimited" and c.status for c in found.status.conditions) and found.status.replicas.ready == 2

        await region.until("what has no room is told", limited)
        assert (await endpoints.get("acme", "chat")).status.ready


async def test_what_goes_wrong_with_one_endpoint_leaves_the_others_scaling(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(policy: Policy, *rest: Any) -> Any:
        if policy.target_concurrency == 7:
            raise ZeroDivisionError
        return desired_replicas(policy, *rest)

    monkeypatch.setattr(scaling, "desired_replicas", poisoned)
    async with a_region(tmp_path, store) as region:
        await served(region)
        await region.apply("bad", scaling={"min_replicas": 1, "max_replicas": 4, "target_concurrency": 7})
        await region.settled("bad")
        await region.measure(16.0, name="bad")
        await region.measure(16.0)
        await counted(region, 3)
        assert (await endpoints.get("acme", "bad")).status.replicas.ready == 1


async def test_a_deleted_endpoint_is_forgotten(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await at_rest(region)
        await endpoints.delete("acme", "chat", ANY, region.now)
        await region.gone()
        region.driver.hold("acme/chat", 1)
        await region.quiet()
        assert region.driver.running() == {}


async def test_a_new_version_of_what_rests_is_proven_and_rests_again(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await at_rest(region)
        await region.register("v2")
        before = {command.command_id for command in region.driver.commands}
        await region.apply(weights={"v2": 100}, scaling={"min_replicas": 0, "max_replicas": 4, "idle_s": 60})
        found = await region.settled()
        await counted(region, 0)
        assert found.status.ready
        assert region.weights() == {"v2": 100}
        started = [c for c in region.driver.commands if c.command_id.startswith("start-") and c.command_id not in before]
        assert len(started) == 1, "nothing of the version that rests is started for it"

        region.driver.hold("acme/chat", 1)
        await counted(region, 1)
