"""Whole stories as readable text, one paragraph per plan. `python -m tests.planner.golden [FOLDER]` rewrites the files of golden/."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fleetform.domain.conditions import Condition
from fleetform.domain.replica import FailureReason
from fleetform.domain.rollout import StartTimes
from fleetform.domain.scaling import ScalingReason
from fleetform.planner.model import (
    Action,
    Book,
    Bury,
    Drop,
    Evict,
    Forget,
    Move,
    Plan,
    PublishRoute,
    Release,
    RemoveRoute,
    Reserve,
    Start,
    Stop,
)
from tests.builders import GPU_SHAPE, a_host, a_window, effective_endpoint
from tests.planner.world import World

FOLDER = Path(__file__).parent / "golden"


def create_and_delete() -> list[str]:
    world = _gpu_world(replicas=2)
    told = [*_told("created with two replicas", world)]
    world.deleting = True
    return [*told, *_told("deleted", world)]


def rollout_by_steps() -> list[str]:
    world = _gpu_world(replicas=2, steps=(10, 100), step_hold_s=60, bake_s=600)
    told = [*_told("v1 is served", world)]
    world.put(effective_endpoint({"v2": 100}, 2, instance_type="gpu-a10-1x", steps=(10, 100), step_hold_s=60))
    told += _told("v2 is declared", world)
    world.pass_time(60)
    told += _told("a minute later", world)
    world.pass_time(60)
    told += _told("another minute later", world)
    world.pass_time(600)
    return [*told, *_told("ten minutes later", world)]


def rollback() -> list[str]:
    world = _gpu_world(replicas=1)
    told = [*_told("v1 is served", world)]
    world.broken["v2"] = FailureReason.CRASHED
    world.put(effective_endpoint({"v2": 100}, instance_type="gpu-a10-1x"))
    for pause_s in (0, 1, 2):
        world.pass_time(pause_s)
        told += _told(f"v2 crashes; {pause_s} s have passed", world)
    return told


def a_slow_version() -> list[str]:
    world = _gpu_world(replicas=1)
    told = [*_told("v1 is served", world)]
    world.measured = {"v1": a_window("v1", 900), "v2": a_window("v2", 90, ttft_ms=400)}
    world.put(effective_endpoint({"v2": 100}, instance_type="gpu-a10-1x", steps=(10, 100), step_hold_s=60))
    told += _told("v2 is declared; its first byte takes four times as long", world)
    world.pass_time(5)
    return [*told, *_told("five seconds later", world)]


def no_room_for_a_surge() -> list[str]:
    world = _gpu_world(replicas=2, gpus=2)
    told = [*_told("v1 fills the host", world)]
    world.put(effective_endpoint({"v2": 100}, 2, instance_type="gpu-a10-1x"))
    return [*told, *_told("v2 is declared", world)]


def swap_in_place() -> list[str]:
    world = _gpu_world(replicas=1, gpus=1)
    told = [*_told("v1 fills the host", world)]
    world.start_times = {"v2": StartTimes(p50_s=30, p95_s=40, count=5)}
    world.put(effective_endpoint({"v2": 100}, instance_type="gpu-a10-1x", strategy="swap"))
    return [*told, *_told("v2 is declared, and may take the place of v1", world)]


def to_zero_and_back() -> list[str]:
    world = _gpu_world(replicas=1)
    told = [*_told("one replica serves", world)]
    world.put(effective_endpoint(replicas=0, instance_type="gpu-a10-1x"))
    world.scale(0, ScalingReason.IDLE)
    told += _told("nobody asks for anything", world)
    world.scale(1, ScalingReason.WOKEN)
    told += _told("somebody asks", world)
    world.scale(0, ScalingReason.IDLE)
    told += _told("nobody asks any more", world)
    world.deleting = True
    return [*told, *_told("deleted", world)]


STORIES: dict[str, Callable[[], list[str]]] = {
    "create-and-delete": create_and_delete,
    "rollout-by-steps": rollout_by_steps,
    "rollback": rollback,
    "slow-version": a_slow_version,
    "swap-in-place": swap_in_place,
    "no-room-for-a-surge": no_room_for_a_surge,
    "to-zero-and-back": to_zero_and_back,
}


def _gpu_world(replicas: int, gpus: int = 4, **fields: Any) -> World:
    effective = effective_endpoint(replicas=replicas, instance_type="gpu-a10-1x", **fields)
    world = World(effective, hosts=(a_host(gpus=gpus),))
    world.shapes["gpu-a10-1x"] = GPU_SHAPE
    return world


def _told(title: str, world: World) -> list[str]:
    lines = [f"== {title}"]
    for made in world.settle():
        if made.actions or made.events:
            lines += _paragraph(made, world)
    return lines


def _paragraph(made: Plan, world: World) -> list[str]:
    names = {replica_id: f"#{number}" for number, replica_id in enumerate(world.born, start=1)}
    lines = ["plan"]
    lines += [f"  {_line(action, names)}" for action in made.actions]
    lines += [f"  waits {blocked.reason}" for blocked in made.blocked]
    lines.append(f"  status {made.status.phase}: {', '.join(_said(c) for c in made.status.conditions)}")
    lines += [f"  tells {event.reason}: {event.message.splitlines()[0]}" for event in made.events if event.replica_id is None]
    return lines


def _said(condition: Condition) -> str:
    return f"{condition.type}={condition.status}/{condition.reason}"


def _line(action: Action, names: dict[str, str]) -> str:
    match action:
        case Reserve():
            devices = " ".join(action.reservation.devices)
            return f"reserve {names[action.replica.replica_id]} of {action.replica.track} on {action.reservation.host} {devices}"
        case Move():
            return f"move {names[action.replica.replica_id]} {action.before} -> {action.replica.phase}"
        case Release() | Drop():
            return f"{type(action).__name__.lower()} {names[action.replica_id]}"
        case Stop() if action.command.keep_warm:
            return f"stop {names[action.command.replica_id]} on {action.host}, where its engine may sleep"
        case Evict():
            return f"evict {' '.join(names[engine_id] for engine_id in action.command.engine_ids)} on {action.host}"
        case Start() | Stop() | Forget():
            return f"{type(action).__name__.lower()} {names[action.command.replica_id]} on {action.host}"
        case PublishRoute():
            tracks = [
                f"{t.track}={t.weight}% [{' '.join(names[x.replica_id] + ('!' if x.draining else '') for x in t.targets)}]"
                for t in action.route.tracks
            ]
            return f"publish {action.route.key} {'; '.join(tracks) or 'without tracks'}"
        case RemoveRoute():
            return f"remove {action.key}"
        case Book():
            return f"book {action.replicas}"
        case Bury():
            return "bury"


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name, story in STORIES.items():
        (folder / f"{name}.txt").write_text("\n".join(story()) + "\n")


if __name__ == "__main__":
    main()
