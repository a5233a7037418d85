"""Endpoints whose traffic moves from v1 to v2, and what is read of that."""

from typing import Any

from fleetform.domain.effective import EffectiveEndpoint
from fleetform.domain.rollout import StepOutcome
from fleetform.planner.model import Plan, Reserve, Start
from tests.builders import a_window, effective_endpoint
from tests.planner.world import World

HELD: dict[str, Any] = {"steps": (10, 50, 100), "step_hold_s": 60}
GOOD = {"v1": a_window("", 900), "v2": a_window("", 100)}


def wish(weights: dict[str, int] | None = None, replicas: int = 1, **fields: Any) -> EffectiveEndpoint:
    return effective_endpoint(weights or {"v2": 100}, replicas, **{**HELD, **fields})


def served(replicas: int = 1) -> World:
    """A world in which v1 is ready."""
    world = World(wish({"v1": 100}, replicas))
    world.settle()
    assert world.status.ready
    return world


def begun(**fields: Any) -> World:
    """A world in which the first step of a rollout to v2 is held."""
    world = served()
    world.put(wish(**fields))
    world.settle()
    assert world.weights() == {"v1": 90, "v2": 10}
    return world


def started(plans: list[Plan]) -> list[object]:
    return [action for made in plans for action in made.actions if isinstance(action, Reserve | Start)]


def outcomes(world: World) -> list[tuple[int, StepOutcome]]:
    return [(step.percent, step.outcome) for step in world.records[-1].steps]
