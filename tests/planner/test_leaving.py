"""Replicas on their way out: in which order they go, and by whose word they are over."""

import msgspec

from fleetform.domain.protocol import HostReplica, HostReplicaState
from fleetform.domain.replica import ReplicaPhase, Unix
from fleetform.planner import plan
from fleetform.planner.model import Drop, Move, Stop
from tests.builders import effective_endpoint
from tests.planner.world import World


def test_a_replica_that_is_being_placed_leaves_by_the_word_of_its_host() -> None:
    world = World()
    world.step()
    world.rows = {i: msgspec.structs.replace(r, phase=ReplicaPhase.PLACING) for i, r in world.rows.items()}
    world.seen.clear()
    world.deleting = True
    made = plan(world.desired, world.observed, world.now)
    stops = [action.command.replica_id for action in made.actions if isinstance(action, Stop)]
    assert stops == list(world.rows), "a start may have been sent and not been answered"
    assert not any(isinstance(action, Drop) for action in made.actions)
    world.settle()
    assert world.buried


def test_a_replica_that_the_proxies_may_use_already_is_the_last_to_leave() -> None:
    world = World(effective_endpoint(replicas=2))
    world.step()
    first, second = world.born
    world.seen[first] = HostReplica(replica_id=first, state=HostReplicaState.SERVING, seq=1, address=Unix(path=f"/run/{first}.sock"))
    world.seen[second] = HostReplica(replica_id=second, state=HostReplicaState.FETCHING, seq=1)
    world.put(effective_endpoint({"v1": 50, "v2": 50}, replicas=2))
    made = plan(world.desired, world.observed, world.now)
    assert made.rollout is not None
    assert sum(made.rollout.old.values()) == 100, "it counts as the incumbent, though it is not recorded as ready yet"
    assert first not in [action.replica.replica_id for action in made.actions if isinstance(action, Move) and action.replica.stop_requested]


def test_a_failed_replica_is_not_shown_any_more_when_another_was_tried_before_its_host_had_cleared_it_away() -> None:
    world = World(effective_endpoint(replicas=2))
    world.settle()
    first, second = world.born
    world.die(first)
    clearing = world.seen[first]
    for _ in range(5):
        world.step()
        world.seen[first] = clearing
        world.pass_time(1)
    assert len(world.born) == 3, "its successor was started meanwhile"
    world.settle()
    assert list(world.rows) == [second, world.born[2]]


def test_a_replica_that_the_proxies_may_use_already_ends_its_requests_before_it_leaves() -> None:
    """One of them has taken the route, and not all of them have said so."""
    world = World()
    world.deaf = True
    for _ in range(5):
        world.step()
    (starting,) = world.rows.values()
    assert (starting.phase, starting.proven) == (ReplicaPhase.STARTING, True)
    world.deleting = True
    world.step()
    world.deaf = False
    stops = [action.command for made in world.settle() for action in made.actions if isinstance(action, Stop)]
    assert [stop.drain_timeout_s for stop in stops] == [300]
