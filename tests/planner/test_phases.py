"""The phases of a start on the replica's row: kept when it moves on, whole once it is ready, never written for mere progress."""

from datetime import datetime, timedelta

import msgspec

from fleetform.domain.protocol import HostReplica, HostReplicaState
from fleetform.domain.replica import Phase, Replica, ReplicaPhase, moved
from fleetform.planner.model import SeenReplica
from fleetform.planner.phases import kept
from tests.builders import NOON

S = HostReplicaState
P = ReplicaPhase


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def a_replica(phase: ReplicaPhase, created_at: datetime, ready_at: datetime | None = None, phases: tuple[Phase, ...] = ()) -> Replica:
    return Replica(
        replica_id="r1",
        endpoint_uid="e1",
        track="v1.00000000",
        model_version="m:v1",
        generation=1,
        phase=phase,
        members=(),
        nonce="n",
        created_at=created_at,
        changed_at=created_at,
        ready_at=ready_at,
        phases=phases,
    )


def seen(replica: Replica, *phases: Phase, reachable: bool = True) -> SeenReplica:
    state = S.SERVING if phases and phases[-1].ended_at else S.STARTING
    told = HostReplica(replica_id=replica.replica_id, state=state, seq=1, phases=phases)
    return SeenReplica(replica=replica, seen=told, reachable=reachable)


FETCH = Phase(name="fetch", started_at=at(1), ended_at=at(3), done=10, total=10)
LOAD = Phase(name="load", started_at=at(3), ended_at=at(8))
LOADS = Phase(name="load", started_at=at(3))


def test_a_ready_replica_has_the_whole_of_its_start() -> None:
    replica = a_replica(phase=P.STARTING, created_at=NOON)
    found = kept(seen(replica, FETCH, LOAD), moved(replica, P.READY, at(9)), at(9)).phases
    assert [(p.name, p.started_at, p.ended_at) for p in found] == [
        ("place", at(0), at(1)),
        ("fetch", at(1), at(3)),
        ("load", at(3), at(8)),
        ("routed", at(8), at(9)),
    ]


def test_progress_alone_changes_no_row() -> None:
    replica = a_replica(phase=P.STARTING, created_at=NOON)
    assert kept(seen(replica, FETCH, LOADS), replica, at(9)) == replica


def test_moving_on_keeps_how_far_it_was_and_so_does_a_failure() -> None:
    replica = a_replica(phase=P.FETCHING, created_at=NOON)
    for phase in (P.STARTING, P.FAILED):
        found = kept(seen(replica, FETCH, LOADS), moved(replica, phase, at(9)), at(9)).phases
        assert [p.name for p in found] == ["place", "fetch", "load"]
        assert found[-1].ended_at is None


def test_what_the_host_says_of_the_start_is_kept_and_a_failure_has_its_own_words() -> None:
    replica = a_replica(phase=P.STARTING, created_at=NOON)
    item = seen(replica, FETCH, LOAD)
    assert item.seen is not None
    item = msgspec.structs.replace(item, seen=msgspec.structs.replace(item.seen, message="started plainly: no zygote runs"))
    assert kept(item, moved(replica, P.READY, at(9)), at(9)).message == "started plainly: no zygote runs"
    failed = msgspec.structs.replace(moved(replica, P.FAILED, at(9)), message="it crashed")
    assert kept(item, failed, at(9)).message == "it crashed"


def test_what_follows_readiness_leaves_the_start_as_it_was() -> None:
    replica = a_replica(phase=P.READY, created_at=NOON, ready_at=at(9), phases=(FETCH,))
    assert kept(seen(replica, LOAD), moved(replica, P.DRAINING, at(99)), at(99)).phases == (FETCH,)


def test_a_host_that_does_not_answer_or_says_nothing_changes_nothing() -> None:
    replica = a_replica(phase=P.STARTING, created_at=NOON, phases=(FETCH,))
    failed = moved(replica, P.FAILED, at(9))
    assert kept(seen(replica, LOAD, reachable=False), failed, at(9)).phases == (FETCH,)
    assert kept(seen(replica), failed, at(9)).phases == (FETCH,)


def test_clocks_that_differ_give_no_phase_that_ends_before_it_began() -> None:
    replica = a_replica(phase=P.STARTING, created_at=at(2))
    found = kept(seen(replica, FETCH, LOAD), moved(replica, P.READY, at(5)), at(5)).phases
    assert all(p.ended_at is not None and p.started_at <= p.ended_at for p in found)
