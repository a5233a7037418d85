"""What the gateways are told about an endpoint of which nothing answers: for how long, and why."""

import msgspec

from fleetform.domain.replica import FailureReason
from fleetform.domain.rollout import StartTimes
from fleetform.domain.scaling import ScalingReason
from fleetform.gateway.snapshot import EndpointRoute
from tests.builders import NOON, effective_endpoint
from tests.planner.world import World


def at_zero() -> World:
    """An endpoint that has proven itself and rests; its starts took 40 s, some of them 70 s."""
    effective = effective_endpoint({"v1": 100}, steps=(100,))
    world = World(msgspec.structs.replace(effective, min_replicas=0, max_replicas=2))
    world.settle()
    world.start_times = {"v1": StartTimes(p50_s=39.5, p95_s=70, count=5)}
    world.scale(0, ScalingReason.IDLE)
    world.settle()
    return world


def routed(world: World) -> EndpointRoute:
    assert world.published is not None
    assert world.published.route is not None
    return world.published.route


def test_at_zero_the_route_says_what_a_start_takes() -> None:
    route = routed(at_zero())
    assert (route.phase, route.start_s, route.start_slow_s, route.start_began) == ("ScaledToZero", 40, 70, 0)


def test_a_start_under_way_says_when_it_began_and_nothing_once_it_serves() -> None:
    world = at_zero()
    world.scale(1, ScalingReason.WOKEN)
    woken_at = int(world.now.timestamp())
    world.step()
    world.pass_time(1)
    world.step()
    assert (routed(world).start_s, routed(world).start_began) == (40, woken_at)
    world.pass_time(10)
    world.step()
    assert routed(world).start_began == woken_at
    world.settle()
    assert (routed(world).phase, routed(world).start_s, routed(world).start_began) == ("Ready", 0, 0)


def test_a_first_start_of_which_nothing_is_known() -> None:
    world = World(effective_endpoint({"v1": 100}, steps=(100,)))
    world.step()
    world.step()
    assert (routed(world).start_s, routed(world).start_began, routed(world).reason) == (0, int(NOON.timestamp()), "")


def test_why_it_cannot_start_is_told_in_one_word() -> None:
    world = World(effective_endpoint({"v1": 100}, steps=(100,)))
    world.broken = {"v1": FailureReason.WRONG_MODEL}
    for _ in range(20):
        world.step()
        world.pass_time(30)
    assert (routed(world).phase, routed(world).reason) == ("Stalled", FailureReason.WRONG_MODEL)
