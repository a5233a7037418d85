"""The phases of a replica's start, as its row keeps them: written along with whatever else changes in it, never for themselves.

A running start is told by its host, which knows how far it is. The row has what the host said when the replica last moved on, and once
the replica is ready all of it: `place`, from the row's making to the host's first word, what the host did, and `routed`, from the
host's last word until every proxy sent requests to it. What the host says of the start, such as why it was a plain one, is kept too.
"""

from datetime import datetime

import msgspec

from fleetform.domain.replica import Phase, Replica, ReplicaPhase
from fleetform.planner.model import SeenReplica

PLACE, ROUTED = "place", "routed"


def kept(item: SeenReplica, replica: Replica, now: datetime) -> Replica:
    """replica, which came of item, with the phases of its start; as it is while it has not moved on, or when its host says nothing new.

    Two machines' clocks may differ: no phase ends before it began.
    """
    told = item.seen.phases if item.reachable and item.seen is not None else ()
    started = item.replica.ready_at is not None
    if replica.phase is item.replica.phase or started or not told:
        return replica
    phases = (Phase(name=PLACE, started_at=replica.created_at, ended_at=max(replica.created_at, told[0].started_at)), *told)
    last = told[-1].ended_at
    if replica.phase is ReplicaPhase.READY and last is not None:
        phases = (*phases, Phase(name=ROUTED, started_at=min(last, now), ended_at=now))
    words = item.seen.message if item.seen is not None else ""
    return msgspec.structs.replace(replica, phases=phases, message=replica.message or words)
