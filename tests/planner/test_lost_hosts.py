"""Hosts that fall silent: what they run is unknown, not gone; after a while it is replaced elsewhere, and nothing is ever there twice."""

from typing import Any

import pytest

from fleetform.domain.conditions import ConditionType, Reason, condition
from fleetform.domain.replica import Replica, ReplicaPhase
from fleetform.planner.model import Plan, Reserve, Start, Stop
from tests.builders import GPU_SHAPE, a_host, effective_endpoint
from tests.planner.world import World

P = ReplicaPhase


def spread(replicas: int = 2, gpus: int = 4, **fields: Any) -> World:
    """An endpoint that serves on two hosts with so many GPUs each."""
    hosts = tuple(a_host(name, gpus=gpus) for name in ("host-1", "host-2"))
    world = World(effective_endpoint(replicas=replicas, **fields), hosts=hosts, shape=GPU_SHAPE)
    world.settle()
    assert world.status.ready
    return world


def on(world: World, host: str) -> list[Replica]:
    return [r for r in world.rows.values() if r.members[0].host == host and r.phase in (P.PLACING, P.FETCHING, P.STARTING, P.READY)]


def lose(world: World) -> str:
    """A host that runs something falls silent, and the time passes after which it is lost; its name."""
    host = next(iter(world.rows.values())).members[0].host
    world.away = {host}
    world.step()
    world.pass_time(60)
    return host


def reserved(made: Plan) -> list[Reserve]:
    return [action for action in made.actions if isinstance(action, Reserve)]


def test_a_short_silence_changes_nothing_and_the_plan_names_the_moment_when_it_will() -> None:
    world = spread()
    host = next(iter(world.rows.values())).members[0].host
    world.away = {host}
    made = world.step()
    assert made.actions == ()
    assert made.next_at is not None
    assert (made.next_at - world.now).total_seconds() == 60
    world.pass_time(59)
    assert reserved(world.step()) == []


def test_what_a_lost_host_ran_is_started_elsewhere_and_kept_in_the_route() -> None:
    world = spread()
    host = lose(world)
    lost = {r.replica_id for r in on(world, host)}
    events = [event for made in world.settle() for event in made.events]
    other = next(name for name in ("host-1", "host-2") if name != host)
    assert len([r for r in on(world, other) if r.phase is P.READY]) == 2
    assert {event.replica_id for event in events if event.reason == "ReplicaLost"} == lost
    assert world.published is not None
    assert world.published.route is not None
    routed = {target.replica_id for track in world.published.route.tracks for target in track.targets}
    assert lost <= routed
    degraded = condition(world.status.conditions, ConditionType.DEGRADED)
    assert degraded is not None
    assert degraded.reason is Reason.HOST_UNREACHABLE
    assert "replaced" in degraded.message


def test_the_quota_holds_also_while_nobody_knows_what_the_lost_host_does() -> None:
    world = spread()
    world.quota = 2
    lose(world)
    for _ in range(10):
        world.step()
        assert len(world.reservations) <= 2
    assert len(world.born) == 2


def test_without_room_it_waits() -> None:
    world = spread(gpus=1)
    lose(world)
    world.settle()
    assert len(world.born) == 2


def test_a_host_that_is_back_keeps_what_is_wanted_and_stops_the_rest() -> None:
    world = spread()
    host = lose(world)
    lost = [r.replica_id for r in on(world, host)]
    world.settle()
    world.away = set()
    plans = world.settle()
    assert world.ready() == 2
    assert len(world.rows) == len(world.reservations) == 2
    stopped = [action for made in plans for action in made.actions if isinstance(action, Stop)]
    assert len(stopped) == len(lost)
    assert world.settle()[-1].actions == ()


def test_a_host_that_was_started_anew_has_nothing_that_is_missed() -> None:
    world = spread()
    host = lose(world)
    gone = [r.replica_id for r in on(world, host)]
    world.settle()
    for replica_id in gone:
        del world.seen[replica_id]
    world.away = set()
    world.settle()
    assert world.ready() == 2
    assert not set(gone) & world.rows.keys()


def test_a_start_that_never_reached_its_host_is_not_sent_when_it_is_back() -> None:
    world = spread(replicas=1)
    (first,) = world.rows.values()
    world.put(effective_endpoint(replicas=2))
    world.away = {"host-1", "host-2"} - {first.members[0].host}
    world.step()  # placed before anybody knew
    waiting = [r for r in world.rows.values() if r.phase is P.PLACING]
    world.pass_time(60)
    world.settle()
    world.away = set()
    plans = world.settle()
    started = [action.command.replica_id for made in plans for action in made.actions if isinstance(action, Start)]
    assert not {r.replica_id for r in waiting} & set(started)
    assert world.ready() == 2


@pytest.mark.parametrize("times", [1, 3])
def test_a_host_that_comes_and_goes_never_leads_to_more_than_was_asked_for_beside_what_is_lost(times: int) -> None:
    world = spread()
    for _ in range(times):
        lose(world)
        for _ in range(15):
            world.step()
            known = [r for r in world.rows.values() if r.lost_since is None and r.phase in (P.FETCHING, P.STARTING, P.READY)]
            assert len(known) <= 2
        world.away = set()
        world.settle()
        assert world.ready() == 2


def told_and_not_yet_ready() -> tuple[World, str]:
    """A replica of which the proxies have just been told, and whose host then falls silent; its world and its id."""
    world = World(effective_endpoint(replicas=1), hosts=(a_host("host-1"), a_host("host-2")))
    while world.published is None or not opened(world):
        world.step()
    (replica,) = world.rows.values()
    assert replica.phase is P.STARTING
    world.away = {replica.members[0].host}
    return world, replica.replica_id


def opened(world: World) -> set[str]:
    """Replicas that get new requests."""
    assert world.published is not None
    assert world.published.route is not None
    return {target.replica_id for track in world.published.route.tracks for target in track.targets if not target.draining}


def test_what_the_proxies_were_told_of_stays_in_the_route_when_its_host_falls_silent_at_that_moment() -> None:
    world, replica_id = told_and_not_yet_ready()
    world.deaf = True
    world.step()
    world.step()
    assert opened(world) == {replica_id}
    world.deaf = False
    world.step()
    assert world.rows[replica_id].phase is P.READY


def test_a_new_split_takes_over_from_what_the_proxies_were_just_told_of_although_its_host_is_silent() -> None:
    world, replica_id = told_and_not_yet_ready()
    world.put(effective_endpoint({"v2": 100}, replicas=1))
    world.step()
    world.step()
    assert world.weights() == {"v1": 100}
    assert opened(world) == {replica_id}


def test_the_one_that_serves_does_not_go_in_the_place_of_one_whose_host_is_silent() -> None:
    world = World(effective_endpoint(replicas=2), hosts=(a_host("host-1"), a_host("host-2")))
    world.step()
    first, second = world.born
    assert world.rows[first].members != world.rows[second].members
    world.away = {world.rows[second].members[0].host}
    world.deaf = True
    while world.published is None or not opened(world):
        world.step()
    assert opened(world) == {first}
    world.put(effective_endpoint(replicas=1))
    world.step()
    world.step()
    assert opened(world) == {first}
    world.deaf = False
    world.away = set()
    world.settle()
    assert list(world.rows) == [first]


def test_a_server_that_has_told_the_proxies_nothing_yet_keeps_in_the_route_what_another_may_have_told_them_of() -> None:
    world, replica_id = told_and_not_yet_ready()
    world.published = None
    world.step()
    assert opened(world) == {replica_id}
