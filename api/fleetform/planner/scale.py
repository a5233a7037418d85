"""How many replicas each track keeps, which are started, and which have to go.

    track                      at least                            at most
    of the new split           its share of the replicas           the larger of its old and its new share
    of the old split only      what its traffic still needs; in a  its old share: it stays warm
                               swap 0
    idle (bake)                0                                   what it has
    any other                  0                                   0

Where the count is zero nothing runs, but for one replica of each track that has yet to prove itself.

Where there is no room for what is missing, warm replicas give way: idle ones first, then those of the old split beyond what
their traffic needs. Together there are never fewer ready replicas than the endpoint asks for.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from fleetform.domain.base import Record
from fleetform.domain.replica import Replica, ReplicaPhase
from fleetform.domain.rollout import RolloutState
from fleetform.domain.scaling import ScalingDecision
from fleetform.planner.lifecycle import LIVING
from fleetform.planner.rollout import is_swap
from fleetform.planner.tracks import shared_out

ADVANCE = (ReplicaPhase.PLACING, ReplicaPhase.FETCHING, ReplicaPhase.STARTING, ReplicaPhase.READY)
"""The living phases in their order: a replica that is starting may serve its first requests already."""


class Bounds(Record, frozen=True, kw_only=True):
    """Living replicas of one track. most None: no bound."""

    least: int
    most: int | None


def final(state: RolloutState, count: int) -> dict[str, int]:
    """Replicas per track that the new split asks for. At zero a track that has yet to take over from another proves itself with one."""
    return {} if count == 0 and not state.old else shared_out(count, state.new)


def incumbents(state: RolloutState, count: int) -> dict[str, int]:
    """Replicas per track that the old split asks for."""
    return {} if count == 0 else shared_out(count, state.old)


def is_at_zero(state: RolloutState | None, scaling: ScalingDecision | None) -> bool:
    """True when nothing runs because nothing is asked for, and what is in force has proven itself."""
    return state is not None and state.settled and scaling is not None and scaling.replicas == 0


def bounds(state: RolloutState, count: int) -> dict[str, Bounds]:
    """Per track of state. count: the replicas that the endpoint asks for; a side with more tracks than that has one each."""
    wanted, incumbent = final(state, count), incumbents(state, count)
    found = {}
    for track in sorted(state.tracks):
        if track in wanted or track in incumbent:
            share = wanted.get(track, 0)
            needed = 0 if track not in wanted and is_swap(state) else still_needed(state, incumbent, track)
            found[track] = Bounds(least=max(share, needed), most=max(share, incumbent.get(track, 0)))
        elif track in state.idle_since:
            found[track] = Bounds(least=0, most=None if count else 0)
        else:
            found[track] = Bounds(least=0, most=0)
    return found


def widened(limits: dict[str, Bounds], more: Mapping[str, int]) -> dict[str, Bounds]:
    """limits with room for so many more replicas per track."""
    return {t: b if b.most is None else Bounds(least=b.least, most=b.most + more.get(t, 0)) for t, b in limits.items()}


def still_needed(state: RolloutState, incumbent: dict[str, int], track: str) -> int:
    """Replicas that the traffic left on a track of the old split asks for: its part rounded down, one while it has any."""
    weight = state.in_force.get(track, 0)
    if weight == 0 or not state.old.get(track) or track not in incumbent:
        return 0
    return max(1, min(incumbent[track], incumbent[track] * weight // state.old[track]))


def living(replicas: Iterable[Replica]) -> Counter[str]:
    """Replicas per track that run or are on their way to, but for those whose host is lost."""
    return Counter(r.track for r in replicas if r.phase in LIVING and r.lost_since is None)


def ready(replicas: Iterable[Replica]) -> Counter[str]:
    """Ready replicas per track; one that hangs answers nobody, and one whose host is lost is not counted on."""
    return Counter(r.track for r in replicas if r.serves and r.lost_since is None)


def missing(limits: dict[str, Bounds], alive: Counter[str]) -> list[str]:
    """One track id per replica to start: the tracks with the fewest replicas first, so that each gets its first one early."""
    lacking = [(alive[t] + n, t) for t, bound in limits.items() for n in range(max(0, bound.least - alive[t]))]
    return [track for _, track in sorted(lacking)]


def surplus(limits: dict[str, Bounds], replicas: tuple[Replica, ...], stoppable: Collection[str], busy: Mapping[str, int]) -> list[Replica]:
    """Replicas beyond their track's bound, or of a track that is not needed.

    stoppable: ids of those whose host can be told. busy: requests under way by id, where any are known.
    """
    gone: list[Replica] = []
    alive = living(replicas)
    for track in sorted(alive):
        bound = limits.get(track, Bounds(least=0, most=0))
        over = 0 if bound.most is None else alive[track] - bound.most
        leaving = _by_worth(replicas, track, busy)[: max(0, over)]
        # One whose host is silent goes when that answers, or is lost. In its place none would go that is worth more.
        gone += [replica for replica in leaving if replica.replica_id in stoppable]
    return gone


def without_a_dip(leaving: list[Replica], state: RolloutState, replicas: tuple[Replica, ...], count: int) -> list[Replica]:
    """Those of leaving that may go now: a ready one that has traffic stays until count others are ready.

    A rollout that supersedes another shares its old side out anew, which may ask for fewer of a track than serve while others start.
    """
    spare = ready(replicas).total() - count
    gone = []
    for replica in sorted(leaving, key=lambda r: state.in_force.get(r.track, 0) > 0):
        if replica.phase is ReplicaPhase.READY:
            if spare <= 0 and state.in_force.get(replica.track, 0) > 0:
                continue
            spare -= 1
        gone.append(replica)
    return gone


def giving_way(
    state: RolloutState, replicas: tuple[Replica, ...], count: int, stoppable: Collection[str], busy: Mapping[str, int]
) -> list[Replica]:
    """Warm replicas to stop where there is no room for what is missing. One at a time, so that none goes in vain."""
    for track in sorted(state.idle_since):
        candidates = dispensable(replicas, track, stoppable, busy)
        if candidates:
            return candidates[:1]
    incumbent, alive = incumbents(state, count), living(replicas)
    ready_total = ready(replicas).total()
    for track in sorted(t for t in state.old if t not in state.new):
        if alive[track] <= still_needed(state, incumbent, track):
            continue
        for candidate in dispensable(replicas, track, stoppable, busy)[:1]:
            if candidate.phase is not ReplicaPhase.READY or ready_total > count:
                return [candidate]
    return []


def dispensable(replicas: tuple[Replica, ...], track: str, stoppable: Collection[str], busy: Mapping[str, int]) -> list[Replica]:
    """Living replicas of a track that can be told to go, in the order in which they may."""
    return [replica for replica in _by_worth(replicas, track, busy) if replica.replica_id in stoppable]


def _by_worth(replicas: tuple[Replica, ...], track: str, busy: Mapping[str, int]) -> list[Replica]:
    """Living replicas of a track: the least advanced first, then those that are ejected, the idle ones, the youngest.

    Those whose host is lost are none.

    Of those that start, one that has proven itself is worth more: the proxies may send it requests already.
    """
    mine = [r for r in replicas if r.track == track and r.phase in LIVING and r.lost_since is None]

    def worth(r: Replica) -> tuple[int, bool, bool, bool, float, str]:
        return ADVANCE.index(r.phase), r.proven, not r.slow, r.replica_id in busy, -r.created_at.timestamp(), r.replica_id

    return sorted(mine, key=worth)
