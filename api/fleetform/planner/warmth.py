"""Engines that sleep on their hosts: which of the replicas that leave may become one, and which are not wanted any more.

A host keeps them as a cache, by its own memory and for a while. What is decided here is only for whom: a replica that leaves because
fewer are asked for, of a track that goes on being served. Whatever else makes it leave, its engine is ended.
"""

from collections.abc import Iterator

from fleetform.domain.protocol import EvictSleeping
from fleetform.domain.replica import Replica, ReplicaPhase
from fleetform.planner.draft import Draft
from fleetform.planner.model import Evict, SeenSleeper
from fleetform.planner.placing import derived


def may_be_kept(draft: Draft, replica: Replica) -> bool:
    """True when the engine of a replica that is too many is as good as one just started: ready, well, and not worn.

    Which engines can be kept, and whether in memory or on disk, its host knows. Where an endpoint says how many requests one may answer,
    none is kept: what a replica wakes has answered some already, and nobody would count them.
    """
    if draft.state is None or replica.track not in draft.state.new or replica.phase is not ReplicaPhase.READY:
        return False
    if draft.desired.effective.max_requests_per_replica is not None:
        return False
    return replica.serves and replica.lost_since is None and not draft.item(replica.replica_id).worn


def is_kept(draft: Draft, replica: Replica) -> bool:
    """True when a replica that left so may still become a sleeping engine: nothing has happened to it or its track meanwhile."""
    if not replica.keep_warm or replica.phase is not ReplicaPhase.DRAINING or replica.hung_since is not None:
        return False
    return not draft.desired.deleting and draft.state is not None and replica.track in draft.state.new


def evictions(draft: Draft) -> Iterator[Evict]:
    """Engines that nothing would be woken for any more, by host: the endpoint goes, or no traffic can come to their track."""
    unwanted: dict[str, list[SeenSleeper]] = {}
    for sleeper in draft.observed.sleepers:
        if sleeper.reachable and not _is_wanted(draft, sleeper):
            unwanted.setdefault(sleeper.host, []).append(sleeper)
    for host, sleepers in sorted(unwanted.items()):
        ids = tuple(sorted(sleeper.engine.engine_id for sleeper in sleepers))
        # One that was woken may sleep again under the same id: that is another thing to end.
        since = max(sleeper.engine.since for sleeper in sleepers)
        command_id = f"evict-{derived(','.join(ids), since.isoformat(), 0)[:16]}"
        yield Evict(host=host, command_id=command_id, command=EvictSleeping(engine_ids=ids))


def _is_wanted(draft: Draft, sleeper: SeenSleeper) -> bool:
    if draft.desired.deleting:
        return False
    return draft.state is None or sleeper.engine.track_id in draft.state.tracks
