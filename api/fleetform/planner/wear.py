"""Replicas that are replaced though they serve: they have answered as many requests as they should, or their memory only grows.

One at a time: a successor is started beside the worn one and takes over once the proxy routes to it; then the worn one drains. What is
half done goes on by the rows alone (`Replica.replaces`), also when nobody says any more that the old one is worn.
"""

import hashlib
import math
from collections import Counter
from datetime import datetime

import msgspec

from fleetform.domain.base import Record
from fleetform.domain.events import NewEvent
from fleetform.domain.replica import Replica, ReplicaPhase
from fleetform.domain.rollout import SWAP
from fleetform.planner import placing, scale
from fleetform.planner.draft import Draft
from fleetform.planner.lifecycle import LIVING, draining
from fleetform.planner.model import BlockReason

P = ReplicaPhase
RECYCLED = "ReplicaRecycled"
JITTER = 0.1
"""Replicas that were started together wear out at counts that differ by up to this part, so that they do not all go at once."""
WINDOW_S = 600
"""Memory is judged over at least so long."""
SAMPLES_MIN = 20
FULL_SHARE = 0.85
"""Below this part of its memory a replica may grow as it likes: caches do."""
AHEAD_S = 1800
"""A replica is worn when its memory would be full within this time at the pace of the window."""


class MemorySample(Record, frozen=True, kw_only=True):
    at: datetime
    memory_mib: int


def worn_by_requests(replica_id: str, served: int, limit: int | None) -> str:
    """Why the replica is worn, when it has answered so many requests; empty when it is not. limit None: nobody counts."""
    if limit is None or served < limit_of(replica_id, limit):
        return ""
    return f"it has answered {served:,} requests, of the {limit:,} after which a replica is replaced"


def limit_of(replica_id: str, limit: int) -> int:
    """The requests that this very replica may answer: limit, or up to a tenth less, by its id."""
    share = int.from_bytes(hashlib.sha256(replica_id.encode()).digest()[:4]) / 2**32
    return max(1, math.ceil(limit * (1 - JITTER * share)))


def worn_by_memory(samples: tuple[MemorySample, ...], memory_mib: int) -> str:
    """Why the replica is worn, when its memory only grows and will soon be full; empty when it does not.

    samples: oldest first. memory_mib: what its shape has. Each third of the window must lie above the one before, so that the swings of
    a load, or one step up, are never taken for a leak.
    """
    if len(samples) < SAMPLES_MIN or (samples[-1].at - samples[0].at).total_seconds() < WINDOW_S:
        return ""
    third = len(samples) // 3
    parts = [[sample.memory_mib for sample in samples[n * third : (n + 1) * third]] for n in range(3)]
    if not (max(parts[0]) < min(parts[1]) and max(parts[1]) < min(parts[2])):
        return ""
    first, last = samples[0], samples[-1]
    pace = (last.memory_mib - first.memory_mib) / (last.at - first.at).total_seconds()
    if last.memory_mib < FULL_SHARE * memory_mib or last.memory_mib + pace * AHEAD_S < memory_mib:
        return ""
    return f"its memory has grown to {last.memory_mib:,} MiB of {memory_mib:,}, by {pace * 60:.0f} MiB a minute"


def surging(draft: Draft) -> Counter[str]:
    """Replicas per track that stand beside the one they replace until that is gone: so many more than asked for are no surplus."""
    return Counter(r.track for r in draft.replicas if r.phase in LIVING and _predecessor(draft, r) is not None)


def relieved(draft: Draft) -> list[Replica]:
    """Worn replicas whose successors have taken over: they may drain."""
    found = (_predecessor(draft, r) for r in draft.replicas if r.serves)
    return [replica for replica in found if replica is not None and draft.reachable(replica.replica_id)]


def recycled(draft: Draft) -> Draft:
    """draft with a successor for one worn replica, when nothing else is on its way; or with the reason why there is none."""
    worn = _next(draft)
    if worn is None:
        return draft
    why = draft.item(worn.replica_id).worn
    made, lacking = placing.placed(draft, [worn.track])
    if lacking:
        return _without_room(draft, worn, why)
    if made.needs_capacity:
        return made
    reserves = tuple(
        msgspec.structs.replace(reserve, replica=msgspec.structs.replace(reserve.replica, replaces=worn.replica_id))
        for reserve in made.reserves
    )
    successors = ", ".join(reserve.replica.replica_id for reserve in reserves)
    return _told(made.but(reserves=reserves), worn, f"{why}; {successors} takes its place")


def _next(draft: Draft) -> Replica | None:
    """The worn replica whose turn it is: of a settled endpoint, the one that has served longest."""
    state = draft.state
    if state is None or not state.settled or draft.reserves or draft.needs_capacity or state.failures:
        return None
    if any(r.phase not in (P.READY, P.FAILED, P.STOPPED) for r in draft.replicas) or surging(draft):
        return None
    ready = [r for r in draft.replicas if r.serves and r.track in state.new]
    worn = [r for r in ready if draft.item(r.replica_id).worn and draft.reachable(r.replica_id)]
    return min(worn, key=lambda r: (r.created_at, r.replica_id), default=None)


def _without_room(draft: Draft, worn: Replica, why: str) -> Draft:
    """Where the endpoint's strategy is to swap, the worn one goes first, as long as another serves its track."""
    others = scale.ready(r for r in draft.replicas if r.replica_id != worn.replica_id)
    if draft.desired.effective.strategy == SWAP and others[worn.track]:
        left = tuple(draining(r, draft.now) if r.replica_id == worn.replica_id else r for r in draft.replicas)
        return _told(draft.but(replicas=left), worn, f"{why}; it goes first, for there is no room for a successor beside it")
    message = f"replica {worn.replica_id} should be replaced: {why}; but there is no room or quota for a successor beside it"
    return draft.waiting(BlockReason.WORN, message)


def _told(draft: Draft, worn: Replica, what: str) -> Draft:
    message = f"replica {worn.replica_id} of {worn.track} is replaced: {what}"
    return draft.but(events=(*draft.events, NewEvent(kind="Normal", reason=RECYCLED, message=message, replica_id=worn.replica_id)))


def _predecessor(draft: Draft, successor: Replica) -> Replica | None:
    """The replica that successor replaces, as long as it has not gone."""
    if successor.replaces is None:
        return None
    return next((r for r in draft.replicas if r.replica_id == successor.replaces and r.phase in LIVING), None)
