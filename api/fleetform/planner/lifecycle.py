"""What a host says of a replica → the replica's next phase, through the one transition table.

recorded                        the host says                       becomes
any, host unreachable           nothing                             unchanged: what runs there is unknown, not gone; after
                                                                    host_lost_s another one is to take its place
Placing                         nothing yet                         unchanged: the start is sent (again)
Fetching, Starting, Ready       it does not know the replica        Failed(HostLost)
Placing                         fetching                            Fetching
Placing, Fetching               starting, serving                   Starting
Starting                        serving, and the proxy routes to it Ready
Fetching, Starting, Ready       stopping                            Draining
not Draining                    exited                              Failed(the host's reason); Stopped when a stop was asked for, or the
                                                                    host has ended it in order, as `fleetform down` has it do
not Draining                    a failure: it is being cleared away Failed(the host's reason); its reservation is kept until it has exited
Draining                        exited                              Stopped
Draining                        it does not know the replica        unchanged: a start may be on its way; the answer to the stop counts
not Draining                    quarantined                         Failed(LaunchRefused); its reservation is kept
"""

from datetime import datetime, timedelta

import msgspec

from fleetform.domain.protocol import HostReplica, HostReplicaState
from fleetform.domain.replica import FailureReason, Replica, ReplicaPhase, moved
from fleetform.planner.model import Published, SeenReplica

P = ReplicaPhase
S = HostReplicaState
LIVING = frozenset({P.PLACING, P.FETCHING, P.STARTING, P.READY})
RUNNING = frozenset({S.FETCHING, S.STARTING, S.SERVING})
START_GRACE_S = 120
"""How much longer than the host's own deadline a start may take before it is given up from here."""


def followed(item: SeenReplica, start_limit_s: int, host_lost_s: int, now: datetime) -> Replica:
    """The replica after what its host says. start_limit_s: how long its host may take to start it.

    host_lost_s: how long its host may be silent before another replica is to take its place.
    """
    replica = item.replica
    if not item.reachable:
        lost_at = lost_from(item, host_lost_s)
        return msgspec.structs.replace(replica, lost_since=now) if lost_at is not None and now >= lost_at else replica
    replica = msgspec.structs.replace(replica, lost_since=None)
    if replica.phase is P.STOPPED:
        return replica
    if item.seen is None:
        return _unknown_to_host(replica, now)
    replica = _with_facts(replica, item.seen)
    if item.seen.state is S.EXITED:
        return _exited(replica, item.seen, now)
    if replica.phase in (P.DRAINING, P.FAILED):
        return replica
    if item.seen.failure is not None:
        return _failed_by(item.seen, replica, now)
    if item.seen.state is S.QUARANTINED:
        return failed(replica, FailureReason.LAUNCH_REFUSED, item.seen.message or "the host has set this engine aside", now)
    replica = _moved_on(replica, item.seen.state, now)
    deadline = replica.created_at + timedelta(seconds=start_limit_s + START_GRACE_S)
    if replica.phase in (P.PLACING, P.FETCHING, P.STARTING) and item.seen.state is not S.SERVING and now >= deadline:
        message = f"the host did not finish the start within {start_limit_s} s, nor in the {START_GRACE_S} s that followed"
        return failed(replica, FailureReason.START_TIMEOUT, message, now)
    return replica


def lost_from(item: SeenReplica, host_lost_s: int) -> datetime | None:
    """When another replica is to take its place, if its host goes on being silent; None: it answers, or that moment has come."""
    if item.reachable or item.away_since is None or item.replica.lost_since is not None or item.replica.phase not in LIVING:
        return None
    return item.away_since + timedelta(seconds=host_lost_s)


def _unknown_to_host(replica: Replica, now: datetime) -> Replica:
    if replica.phase in (P.FETCHING, P.STARTING, P.READY):
        return failed(replica, FailureReason.HOST_LOST, "the host no longer knows this replica", now)
    return replica


def _with_facts(replica: Replica, seen: HostReplica) -> Replica:
    """The facts that are recorded with a replica: its address, the process that it is, whether it has served, hangs or is ejected."""
    return msgspec.structs.replace(
        replica,
        address=seen.address or replica.address,
        members=seen.members or replica.members,
        proven=replica.proven or seen.state is S.SERVING,
        hung_since=seen.hung_since,
        slow=seen.slow,
    )


def _exited(replica: Replica, seen: HostReplica, now: datetime) -> Replica:
    if replica.phase is P.FAILED:
        return replica
    if replica.stop_requested:
        return moved(replica, P.STOPPED, now)
    if seen.failure is None:
        return moved(draining(replica, now), P.STOPPED, now)
    return _failed_by(seen, replica, now)


def _failed_by(seen: HostReplica, replica: Replica, now: datetime) -> Replica:
    """The replica, failed for the reason that its host gives."""
    assert seen.failure is not None
    ended = failed(replica, seen.failure, seen.message or f"the engine ended ({seen.exit_code})", now)
    return msgspec.structs.replace(ended, log_tail=seen.log_tail)


def _moved_on(replica: Replica, state: HostReplicaState, now: datetime) -> Replica:
    if state is S.FETCHING and replica.phase is P.PLACING:
        return moved(replica, P.FETCHING, now)
    if state in (S.STARTING, S.SERVING) and replica.phase in (P.PLACING, P.FETCHING):
        return moved(replica, P.STARTING, now)
    if state is S.STOPPING:
        return draining(replica, now)
    return replica


def failed(replica: Replica, reason: FailureReason, message: str, now: datetime) -> Replica:
    return msgspec.structs.replace(moved(replica, P.FAILED, now), failure=reason, message=message)


def draining(replica: Replica, now: datetime) -> Replica:
    """The replica on its way out: it gets no new request. It ends by its host's word: also of one just placed a start may be on its way."""
    return msgspec.structs.replace(moved(replica, P.DRAINING, now), stop_requested=True)


def is_serving(item: SeenReplica) -> bool:
    """True when the host says that socket, identity and canary are right."""
    return item.reachable and item.seen is not None and item.seen.state is S.SERVING


def has_proven_itself(item: SeenReplica) -> bool:
    """True when its host says that it serves, or said so before it fell silent: the proxies may have been told of it since."""
    return is_serving(item) or (item.replica.proven and not item.reachable)


def is_routed(replica_id: str, published: Published | None) -> bool:
    """True when every live proxy sends new requests to the replica."""
    if published is None or not published.acked or published.route is None:
        return False
    return any(t.replica_id == replica_id and not t.draining for track in published.route.tracks for t in track.targets)


def is_shut(replica_id: str, published: Published | None) -> bool:
    """True when no live proxy sends new requests to the replica any more."""
    if published is None or published.route is None:
        return published is None or published.acked
    if not published.acked:
        return False
    return all(t.draining for track in published.route.tracks for t in track.targets if t.replica_id == replica_id)
