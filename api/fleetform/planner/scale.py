"""How many replicas each track keeps, which are started, and which have to go.

    track                      at least                            at most
    of the new split           its share of the replicas           the larger of its old and its new share
    of the old split only      what its traffic still needs        its old share: it stays warm
    idle (bake)                0                                   what it has
    any other                  0                                   0

Where there is no room for what is missing, warm replicas give way: idle ones first, then those of the old split beyond what
their traffic needs. Together there are never fewer ready replicas than the endpoint asks for.
"""

from collections import Counter
from collections.abc import Collection, Iterable

from fleetform.domain.base import Record
from fleetform.domain.replica import Replica, ReplicaPhase
from fleetform.domain.rollout import RolloutState
from fleetform.planner.lifecycle import LIVING
from fleetform.planner.tracks import shared_out


class Bounds(Record, frozen=True, kw_only=True):
    """Living replicas of one track. most None: no bound."""

    least: int
    most: int | None


def bounds(state: RolloutState, floor: int) -> dict[str, Bounds]:
    """Per track of state. floor: the replicas that the endpoint asks for; a side with more tracks than that has one each."""
    final, incumbent = shared_out(floor, state.new), shared_out(floor, state.old)
    found = {}
    for track in sorted(state.tracks):
        if track in final or track in incumbent:
            share = final.get(track, 0)
            needed = still_needed(state, incumbent, track)
            found[track] = Bounds(least=max(share, needed), most=max(share, incumbent.get(track, 0)))
        elif track in state.idle_since:
            found[track] = Bounds(least=0, most=None)
        else:
            found[track] = Bounds(least=0, most=0)
    return found


def still_needed(state: RolloutState, incumbent: dict[str, int], track: str) -> int:
    """Replicas that the traffic left on a track of the old split asks for: its part rounded down, one while it has any."""
    weight = state.in_force.get(track, 0)
    if weight == 0 or not state.old.get(track):
        return 0
    return max(1, min(incumbent[track], incumbent[track] * weight // state.old[track]))


def living(replicas: Iterable[Replica]) -> Counter[str]:
    """Replicas per track that run or are on their way to."""
    return Counter(r.track for r in replicas if r.phase in LIVING)


def ready(replicas: Iterable[Replica]) -> Counter[str]:
    """Ready replicas per track."""
    return Counter(r.track for r in replicas if r.phase is ReplicaPhase.READY)


def missing(limits: dict[str, Bounds], alive: Counter[str]) -> list[str]:
    """One track id per replica to start: the tracks with the fewest replicas first, so that each gets its first one early."""
    lacking = [(alive[t] + n, t) for t, bound in limits.items() for n in range(max(0, bound.least - alive[t]))]
    return [track for _, track in sorted(lacking)]


def surplus(limits: dict[str, Bounds], replicas: tuple[Replica, ...], stoppable: Collection[str]) -> list[Replica]:
    """Replicas beyond their track's bound, or of a track that is not needed. stoppable: ids of those whose host can be told."""
    gone: list[Replica] = []
    alive = living(replicas)
    for track in sorted(alive):
        bound = limits.get(track, Bounds(least=0, most=0))
        over = 0 if bound.most is None else alive[track] - bound.most
        gone += _dispensable(replicas, track, stoppable)[: max(0, over)]
    return gone


def giving_way(state: RolloutState, replicas: tuple[Replica, ...], floor: int, stoppable: Collection[str]) -> list[Replica]:
    """Warm replicas to stop where there is no room for what is missing. One at a time, so that none goes in vain."""
    for track in sorted(state.idle_since):
        candidates = _dispensable(replicas, track, stoppable)
        if candidates:
            return candidates[:1]
    incumbent, alive = shared_out(floor, state.old), living(replicas)
    ready_total = ready(replicas).total()
    for track in sorted(t for t in state.old if t not in state.new):
        if alive[track] <= still_needed(state, incumbent, track):
            continue
        for candidate in _dispensable(replicas, track, stoppable)[:1]:
            if candidate.phase is not ReplicaPhase.READY or ready_total > floor:
                return [candidate]
    return []


def _dispensable(replicas: tuple[Replica, ...], track: str, stoppable: Collection[str]) -> list[Replica]:
    """Living replicas of a track in the order in which they may go: those not ready first, then the youngest."""
    mine = [r for r in replicas if r.track == track and r.phase in LIVING and r.replica_id in stoppable]
    return sorted(mine, key=lambda r: (r.phase is ReplicaPhase.READY, -r.created_at.timestamp(), r.replica_id))
