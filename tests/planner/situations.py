"""What is read of a plan in tests, and an endpoint that serves."""

from typing import Any

from fleetform.domain.conditions import ConditionType, Reason, condition
from fleetform.planner.model import Blocked, BlockReason, Plan
from tests.builders import effective_endpoint
from tests.planner.world import World


def kinds(made: Plan) -> list[str]:
    return [type(action).__name__ for action in made.actions]


def blocked(made: Plan, reason: BlockReason) -> Blocked:
    return next(b for b in made.blocked if b.reason is reason)


def reason(world: World, type_: ConditionType) -> Reason:
    found = condition(world.status.conditions, type_)
    assert found is not None
    return found.reason


def served(**fields: Any) -> World:
    """A world whose endpoint is ready."""
    world = World(effective_endpoint(**fields))
    world.settle()
    assert world.status.ready
    return world
