"""Endpoints that are scaled, and how many of their replicas live."""

from typing import Any

import msgspec

from fleetform.domain.conditions import ConditionType, Reason, condition
from fleetform.domain.effective import EffectiveEndpoint
from fleetform.domain.replica import ReplicaPhase
from fleetform.domain.scaling import ScalingReason
from fleetform.planner.model import Plan
from tests.builders import effective_endpoint
from tests.planner.world import World

P = ReplicaPhase


def wish(least: int = 1, most: int = 5, weights: dict[str, int] | None = None, **fields: Any) -> EffectiveEndpoint:
    effective = effective_endpoint(weights, steps=(100,))
    return msgspec.structs.replace(effective, min_replicas=least, max_replicas=most, **fields)


def served(least: int = 1, most: int = 5, **fields: Any) -> World:
    """A world whose endpoint is ready."""
    world = World(wish(least, most, **fields))
    world.settle()
    assert world.status.ready
    return world


def at_zero(**fields: Any) -> World:
    """A world whose endpoint has proven itself and rests."""
    world = served(least=0, **fields)
    world.scale(0, ScalingReason.IDLE)
    world.settle()
    return world


def living(world: World) -> int:
    return sum(1 for row in world.rows.values() if row.phase in (P.PLACING, P.FETCHING, P.STARTING, P.READY))


def ready_reason(world: World) -> Reason:
    found = condition(world.status.conditions, ConditionType.READY)
    assert found is not None
    return found.reason


def told(plans: list[Plan]) -> list[tuple[str, str]]:
    return [
        (event.reason, event.message) for made in plans for event in made.events if event.reason in ("ScaledUp", "ScaledDown", "AtMaximum")
    ]
