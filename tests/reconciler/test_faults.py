"""What the loop does when hosts, engines, leaders and single endpoints go wrong."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleetform.domain.conditions import Condition, ConditionType, Reason, condition
from fleetform.domain.endpoint import Endpoint
from fleetform.domain.project import QuotaSpec
from fleetform.domain.protocol import PROTOCOL_VERSION, CommandRequest, ForgetReplica, StartReplica
from fleetform.drivers.pretended import Fault, Script
from fleetform.errors import NotLeader
from fleetform.store import database, endpoints, events, fleet, quotas, recording
from fleetform.store.recording import Changes, Overtaken
from fleetform.store.writing import ANY
from tests.builders import a_host
from tests.reconciler.region import ADMIN, Region, a_region

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


def said(found: Endpoint, type_: ConditionType) -> Condition:
    held = condition(found.status.conditions, type_)
    assert held is not None
    return held


async def serve(region: Region, version: str = "v1", **fields: Any) -> None:
    """Start the region and bring an endpoint to ready."""
    region.start()
    await region.register(version)
    await region.apply(weights={version: 100}, **fields)
    assert (await region.settled()).status.ready


async def test_a_version_that_crashes_is_rolled_back_with_its_last_words(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await serve(region)
        region.driver.script = Script(engines={"m:bad": Fault.CRASH})
        await region.register("bad")
        await region.apply(weights={"bad": 100})

        async def turned_back() -> Endpoint | None:
            region.pass_time(1)
            found = await endpoints.get("acme", "chat")
            return found if found.status.rejected is not None else None

        found = await region.until("the rollout is turned back", turned_back)
        assert found.status.rejected is not None
        assert found.status.rejected.generation == 2
        assert any("RuntimeError" in line for line in found.status.rejected.evidence)
        assert said(found, ConditionType.READY).reason is Reason.ROLLED_BACK
        assert not found.status.ready
        assert region.weights() == {"v1": 100}
        assert found.status.live is not None
        assert list(found.status.live.variants) == ["v1"]

        region.driver.script = Script()
        await region.apply(weights={"bad": 100}, rollout={"retry": "again"})
        assert (await region.settled()).status.ready, "a changed retry tries again"


async def test_a_first_version_that_runs_out_of_memory_stalls(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        region.driver.script = Script(engines={"m:v1": Fault.OOM})
        region.start()
        await region.register("v1")
        await region.apply()

        async def stalled() -> Endpoint | None:
            region.pass_time(1)
            found = await endpoints.get("acme", "chat")
            return found if endpoints.is_settled(found, 1) else None

        found = await region.until("the endpoint stalls", stalled)
        assert said(found, ConditionType.PROGRESSING).reason is Reason.STALLED
        assert said(found, ConditionType.DEGRADED).reason is Reason.OOM_KILLED
        assert "RuntimeError" in said(found, ConditionType.DEGRADED).message
        assert await database.rows("SELECT * FROM reservation") == []


async def test_a_lost_host_keeps_its_route_and_is_told_nothing(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await serve(region)
        before = region.driver.snapshot().routes["acme/chat"]
        region.driver.script = Script(lost=("host-1",))

        async def degraded() -> bool:
            found = await endpoints.get("acme", "chat")
            return said(found, ConditionType.DEGRADED).reason is Reason.HOST_UNREACHABLE

        await region.until("the loss is shown", degraded)
        sent = len(region.driver.commands)
        await region.quiet()
        assert region.driver.snapshot().routes["acme/chat"] == before
        assert len(region.driver.commands) == sent

        region.driver.script = Script()

        async def healed() -> bool:
            found = await endpoints.get("acme", "chat")
            return said(found, ConditionType.DEGRADED).reason is Reason.NONE and found.status.ready

        await region.until("the host is back", healed)
        assert len(region.driver.running()) == 1


async def test_an_engine_that_ends_is_replaced_after_a_pause(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await serve(region)
        (first,) = region.driver.running()
        region.driver.end(first)

        async def replaced() -> bool:
            region.pass_time(1)
            return len(region.driver.running()) == 1 and first not in region.driver.running() and region.weights() == {"v1": 100}

        await region.until("another replica runs", replaced)

        async def ready() -> bool:
            return (await endpoints.get("acme", "chat")).status.replicas.ready == 1

        await region.until("it is ready", ready)


async def test_a_killed_leader_is_followed_at_once_and_nothing_is_restarted(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store, hosts=(a_host(gpus=4),)) as region:
        for version in ("v1", "v2"):
            await region.register(version)
        await region.apply(replicas=2)
        leader = region.start()
        await region.settled()
        await region.apply(weights={"v2": 100}, replicas=2, rollout={"steps": [1, 10, 50, 100]})
        for _ in range(12):  # at whatever line the kill comes, the next leader goes on from the rows
            await asyncio.sleep(0.02)
            await region.kill(leader)
            leader = region.start(region.a_reconciler())
        found = await region.settled()
        assert found.status.ready
        assert region.weights() == {"v2": 100}
        started = [c.command.replica_id for c in region.driver.commands if isinstance(c.command, StartReplica)]
        assert len(started) == len(set(started))
        assert len(region.driver.running()) == 4, "two serve, two are warm, and none was started twice"


async def test_a_steady_region_costs_no_write(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await serve(region, replicas=2)
        await region.quiet()
        before = await _written()
        for uid in await fleet.living_endpoints():
            assert region.reconciler.term is not None
            for _ in range(5):
                region.reconciler.term.queue.hint(f"endpoint {uid}")
                await region.quiet()
        assert await _written() == before


async def _written() -> list[dict[str, Any]]:
    sql = "SELECT (SELECT max(seq) FROM event) AS events, revision, xmin::text AS written FROM endpoint"
    return [*await database.rows(sql), *await database.rows("SELECT replica_id, xmin::text AS written FROM replica ORDER BY 1")]


async def test_a_stale_leader_writes_nothing_and_hosts_refuse_it(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await serve(region)
        (uid,) = await fleet.living_endpoints()
        facts = await fleet.load(uid)
        assert facts is not None
        assert region.reconciler.term is not None
        status = msgspec.structs.replace(facts.status, phase="Forged")
        with pytest.raises(NotLeader):
            await recording.record(facts, Changes(status=status), "default", 0, region.now)
        assert (await endpoints.get("acme", "chat")).status.phase == "Ready"

        command = ForgetReplica(replica_id="r")
        request = CommandRequest(protocol_version=PROTOCOL_VERSION, epoch=0, command_id="old", command=command)
        with pytest.raises(NotLeader):
            await region.driver.command("host-1", request)


async def test_a_plan_for_a_spec_that_has_changed_since_is_not_written(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await serve(region)
        (uid,) = await fleet.living_endpoints()
        await region.quiet()
        facts = await fleet.load(uid)
        assert facts is not None
        epoch = (await database.rows("SELECT epoch FROM lease"))[0]["epoch"]
        await region.apply(request_timeout_s=9)
        with pytest.raises(Overtaken):
            await recording.record(facts, Changes(booked=7), "default", epoch, region.now)


async def test_without_quota_for_a_surge_the_old_version_serves_on(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await quotas.put("acme", "cpu-small", QuotaSpec(max_replicas=1), ADMIN, ANY, region.now)
        await serve(region)
        await region.register("v2")
        await region.apply(weights={"v2": 100})

        async def refused() -> Endpoint | None:
            found = await endpoints.get("acme", "chat")
            held = said(found, ConditionType.ADMITTED)
            return found if held.reason is Reason.QUOTA_EXHAUSTED else None

        found = await region.until("the want of quota is shown", refused)
        assert "is 1 replicas, 1 of them booked" in said(found, ConditionType.ADMITTED).message
        assert region.weights() == {"v1": 100}

        await quotas.put("acme", "cpu-small", QuotaSpec(max_replicas=2), ADMIN, ANY, region.now)

        async def goes_on() -> bool:
            return (await endpoints.get("acme", "chat")).status.ready

        await region.until("it goes on as soon as there is quota, though no time passes", goes_on)
        assert region.weights() == {"v2": 100}


async def test_a_refused_artifact_stalls_the_endpoint_that_names_it(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        region.driver.script = Script(artifacts={"file:///models/v1": "PickleRefused"})
        region.start()
        await region.register("v1")
        await region.apply()
        found = await region.settled()
        assert said(found, ConditionType.PROGRESSING).reason is Reason.STALLED
        assert said(found, ConditionType.ADMITTED).reason is Reason.VERSION_NOT_VERIFIED


async def test_events_tell_in_sentences_how_an_endpoint_came_to_serve(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await serve(region)
        uid = await endpoints.uid_of("acme", "chat")
        page = await events.page(uid, 200, None)
        reasons = [event.reason for event in page.items]
        for wanted in (
            "Created",
            "Admitted",
            "ReplicaPlacing",
            "ReplicaStarting",
            "ReplicaReady",
            "Serving",
            "Settled",
        ):
            assert wanted in reasons
        assert not {"None", "Placing", "Starting"} & set(reasons), "replicas tell of themselves, and that nothing is amiss is no news"
        assert [event.message for event in page.items if " " not in event.message] == []
