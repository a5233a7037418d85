"""Rollouts over the real loop and the real database, with gateways whose figures are scripted."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fleetform.domain.endpoint import Endpoint
from fleetform.domain.load import TrackWindow, Windows
from fleetform.domain.protocol import StartReplica, StopReplica
from fleetform.domain.rollout import Rollout, RolloutPhase, StepOutcome
from fleetform.drivers.pretended import Fault, Script
from fleetform.errors import HostUnreachable
from fleetform.store import database, endpoints, events, rollouts
from fleetform.store.writing import ANY
from tests.builders import NOON, a_host, a_window
from tests.reconciler.region import Region, a_region

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
STEPS: dict[str, Any] = {"steps": [10, 50, 100], "step_hold_s": 60}


def measure(region: Region, **windows: TrackWindow) -> None:
    """Let the gateway tell this of the endpoint's tracks, by variant."""
    tracks = {track.track.rpartition(".")[0]: track.track for track in region.driver.snapshot().routes["acme/chat"].tracks}
    found = tuple(TrackWindow(**{**_fields(window), "track": tracks[variant]}) for variant, window in windows.items())
    region.driver.compared["acme/chat"] = Windows(since=NOON, until=region.now, tracks=found)


def _fields(window: TrackWindow) -> dict[str, Any]:
    return {name: getattr(window, name) for name in window.__struct_fields__}


async def begin(region: Region, **fields: Any) -> None:
    """v1 serves, and the first step of a rollout to v2 is held."""
    region.start()
    for version in ("v1", "v2"):
        await region.register(version)
    await region.apply(rollout=STEPS)
    assert (await region.settled()).status.ready
    await region.apply(weights={"v2": 100}, rollout=STEPS, **fields)
    await at_step(region, {"v1": 90, "v2": 10})


async def at_step(region: Region, weights: dict[str, int]) -> None:
    """Return once the weights are in force and their hold has begun."""

    async def probe() -> bool:
        newest = await records(region)
        return region.weights() == weights and bool(newest[0].steps) and newest[0].steps[-1].started_at is not None

    await region.until(f"the weights are {weights}", probe)


async def records(region: Region) -> tuple[Rollout, ...]:
    return (await rollouts.page(await endpoints.uid_of("acme", "chat"), 50, None)).items


async def rejected(region: Region) -> Endpoint:
    async def probe() -> Endpoint | None:
        found = await endpoints.get("acme", "chat")
        return found if found.status.rejected is not None and region.weights() == {"v1": 100} else None

    return await region.until("the rollout is turned back", probe)


async def test_a_worse_version_is_turned_back_with_the_figures_in_status_event_and_record(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await begin(region)
        measure(region, v1=a_window("", 900), v2=a_window("", 100, errors=30))
        starts = len(region.driver.commands)
        region.pass_time(5)
        found = await rejected(region)
        assert found.status.rejected is not None
        evidence = found.status.rejected.evidence
        assert evidence == ("v2: errors: 30 of 100 requests (30.0%), the incumbent 0 of 900 requests (0.0%)",)
        told = await events.page(await endpoints.uid_of("acme", "chat"), 50, None)
        assert any(event.reason == "StepFailed" and evidence[0] in event.message for event in told.items)
        newest = (await records(region))[0]
        assert (newest.phase, newest.reason, newest.evidence) == (RolloutPhase.ROLLED_BACK, "TooManyErrors", evidence)
        started = [request for request in region.driver.commands[starts:] if isinstance(request.command, StartReplica)]
        assert started == [], "going back is a change of weights, and starts nothing"


async def test_a_good_version_passes_every_step_and_the_rollouts_are_listed_newest_first(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await begin(region)
        for weights in ({"v1": 50, "v2": 50}, {"v2": 100}):
            measure(region, v1=a_window("", 900), v2=a_window("", 100))
            region.pass_time(60)
            await at_step(region, weights)
        measure(region, v2=a_window("", 1000))
        region.pass_time(60)
        assert (await region.settled()).status.ready
        newest, first = await records(region)
        assert (newest.generation, newest.phase, first.generation, first.phase) == (2, RolloutPhase.COMPLETED, 1, RolloutPhase.COMPLETED)
        assert [step.outcome for step in newest.steps] == [StepOutcome.PASSED] * 3
        uid = await endpoints.uid_of("acme", "chat")
        page = await rollouts.page(uid, 1, None)
        assert page.items == (newest,)
        assert page.next_cursor is not None
        assert (await rollouts.page(uid, 1, page.next_cursor)).items == (first,)


async def test_a_gateway_that_tells_nothing_fails_nothing_and_passes_nothing(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_region(tmp_path, store) as region:
        asked: list[datetime] = []

        async def silent(host: str, key: str, since: datetime) -> Windows:
            asked.append(since)
            raise HostUnreachable("no answer")

        await begin(region)
        since = region.now
        monkeypatch.setattr(region.driver, "windows", silent)
        region.pass_time(60)
        await at_step(region, {"v1": 50, "v2": 50})
        step = (await records(region))[0].steps[0]
        assert step.outcome is StepOutcome.NOT_JUDGED
        assert "no gateway tells" in step.evidence[0]
        assert since in asked, "what is asked for is the time since the step began"


async def test_control_plane_restart_in_a_hold_goes_on_with_the_step_that_is_recorded(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await begin(region)
        began = (await records(region))[0].steps[-1].started_at
        await region.kill()
        region.pass_time(30)
        successor = region.a_reconciler()
        region.start(successor)

        async def leads() -> bool:
            return successor.term is not None and successor.term.queue.is_idle

        await region.until("the successor leads", leads)
        assert region.weights() == {"v1": 90, "v2": 10}
        assert (await records(region))[0].steps[-1].started_at == began
        region.pass_time(30)
        await at_step(region, {"v1": 50, "v2": 50})
        assert len(await records(region)) == 2


async def test_control_plane_restart_between_the_last_weight_and_the_drain_stops_the_old_one_once(store: str, tmp_path: Path) -> None:
    """The leader dies when the old version has no traffic any more and still runs; its successor lets it go, and it alone."""
    async with a_region(tmp_path, store) as region:
        region.start()
        for version in ("v1", "v2"):
            await region.register(version)
        await region.apply(rollout={"bake_s": 600})
        await region.settled()
        (old,) = region.driver.running()
        await region.apply(weights={"v2": 100}, rollout={"bake_s": 600})
        await region.settled()
        await region.kill()
        before = len(region.driver.commands)
        region.pass_time(601)
        region.start(region.a_reconciler())

        async def one_left() -> bool:
            return len(region.driver.running()) == 1

        await region.until("the old replica is gone", one_left)
        assert old not in region.driver.running()
        assert region.weights() == {"v2": 100}
        done = [request.command for request in region.driver.commands[before:]]
        assert [(type(c).__name__, c.replica_id) for c in done if isinstance(c, StopReplica | StartReplica)] == [("StopReplica", old)]


async def test_a_second_change_supersedes_the_first_and_both_are_told_of(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await begin(region)
        await region.register("v3")
        await region.apply(weights={"v3": 100}, rollout=STEPS)
        await at_step(region, {"v1": 81, "v2": 9, "v3": 10})
        assert [(r.generation, r.phase) for r in await records(region)] == [
            (3, RolloutPhase.RUNNING),
            (2, RolloutPhase.SUPERSEDED),
            (1, RolloutPhase.COMPLETED),
        ]


async def test_the_rollouts_of_an_endpoint_go_with_it(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        await begin(region)
        await endpoints.delete("acme", "chat", ANY, region.now)
        await region.gone()
        assert await database.rows("SELECT * FROM rollout") == []


async def test_a_swap_exchanges_a_full_host_while_another_endpoint_waits_for_room(store: str, tmp_path: Path) -> None:
    """What the old replica gives back goes to its successor, not to the one who was waiting for any room."""
    gpu: dict[str, Any] = {"instance_type": "gpu-a10-1x"}
    async with a_region(tmp_path, store, (a_host(gpus=1),)) as region:
        region.start()
        for version in ("v1", "v2"):
            await region.register(version)
        await region.apply(**gpu)
        assert (await region.settled()).status.ready
        await region.apply("hungry", **gpu)

        async def waits() -> bool:
            return not (await endpoints.get("acme", "hungry")).status.ready and await is_idle(region)

        await region.until("the other one waits", waits)
        await region.apply(weights={"v2": 100}, rollout={"strategy": "swap"}, **gpu)
        assert (await region.settled()).status.ready
        assert region.weights() == {"v2": 100}
        newest = (await records(region))[0]
        assert (newest.strategy, newest.phase) == ("swap", RolloutPhase.COMPLETED)
        assert not (await endpoints.get("acme", "hungry")).status.ready


async def test_a_swap_whose_start_fails_brings_the_old_one_back(store: str, tmp_path: Path) -> None:
    gpu: dict[str, Any] = {"instance_type": "gpu-a10-1x"}
    async with a_region(tmp_path, store, (a_host(gpus=1),)) as region:
        region.start()
        for version in ("v1", "v2"):
            await region.register(version)
        await region.apply(**gpu)
        assert (await region.settled()).status.ready
        region.driver.script = Script(engines={"m:v2": Fault.CRASH})
        await region.apply(weights={"v2": 100}, rollout={"strategy": "swap"}, **gpu)
        found = await rejected(region)
        assert found.status.rejected is not None
        assert found.status.rejected.reason == "Crashed"

        async def serves() -> bool:
            return (await endpoints.get("acme", "chat")).status.replicas.ready == 1

        await region.until("the old version serves again", serves)


async def is_idle(region: Region) -> bool:
    return region.reconciler.term is not None and region.reconciler.term.queue.is_idle
