"""How worn each replica is, by what gateways and hosts have measured. Kept in memory: a new leader asks again."""

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from fleetform.domain.replica import ReplicaPhase
from fleetform.planner.model import Move, Plan
from fleetform.planner.wear import MemorySample, worn_by_memory, worn_by_requests
from fleetform.reconciler.loads import Loads
from fleetform.store.fleet import EndpointFacts

SAMPLE_EVERY_S = 30.0
SAMPLES_KEPT = 60


class _Used:
    """One ready replica. limit: the requests after which its endpoint has it replaced. memory_mib: what its shape has; 0: not known.

    leaks: why its memory wears it out, or empty. told: its endpoint has been asked to look at it.
    """

    def __init__(self, uid: str, limit: int | None, memory_mib: int) -> None:
        self.uid = uid
        self.limit = limit
        self.memory_mib = memory_mib
        self.served = 0
        self.memory: deque[MemorySample] = deque(maxlen=SAMPLES_KEPT)
        self.leaks = ""
        self.told = False


class Wearing:
    """learn what is ready, look after each round of measurements. hint: has an endpoint (uid) looked at."""

    def __init__(self, loads: Loads, now: Callable[[], datetime], hint: Callable[[str], None]) -> None:
        self._loads = loads
        self._now = now
        self._hint = hint
        self._used: dict[str, _Used] = {}
        self._by_endpoint: dict[str, frozenset[str]] = {}
        self._sampled_at: datetime | None = None

    def learn(self, facts: EndpointFacts, made: Plan) -> None:
        """Take in which replicas of an endpoint are ready by its last pass, and what wears them out."""
        desired, found = facts.desired, dict[str, _Used]()
        moved = {action.replica.replica_id: action.replica for action in made.actions if isinstance(action, Move)}
        for item in facts.replicas if not desired.deleting else ():
            replica = moved.get(item.replica.replica_id, item.replica)
            if replica.phase is ReplicaPhase.READY:
                limit, memory_mib = desired.effective.max_requests_per_replica, 0 if desired.shape is None else desired.shape.memory_mib
                used = self._used.get(replica.replica_id) or _Used(desired.uid, limit, memory_mib)
                used.told = used.told and used.limit == limit
                used.limit, used.memory_mib = limit, memory_mib
                found[replica.replica_id] = used
        for gone in self._by_endpoint.pop(desired.uid, frozenset()) - found.keys():
            self._used.pop(gone, None)
        if found:
            self._by_endpoint[desired.uid] = frozenset(found)
            self._used.update(found)

    def look(self) -> None:
        """Judge every replica by what was measured last; the endpoint of one that has just become worn is looked at."""
        now = self._now()
        # From a time that lies ahead, by a clock that was set back since, nothing is waited for.
        samples = self._sampled_at is None or not timedelta() <= now - self._sampled_at < timedelta(seconds=SAMPLE_EVERY_S)
        if samples:
            self._sampled_at = now
        for replica_id, used in self._used.items():
            if samples:
                self._sample(replica_id, used)
            if used.limit is not None:
                used.served = max(used.served, self._loads.served(replica_id) or 0)
            if not used.told and self.worn(replica_id):
                used.told = True
                self._hint(used.uid)

    def worn(self, replica_id: str) -> str:
        """Why the replica should be replaced, or empty."""
        used = self._used.get(replica_id)
        return "" if used is None else worn_by_requests(replica_id, used.served, used.limit) or used.leaks

    def _sample(self, replica_id: str, used: _Used) -> None:
        engine = self._loads.engine(replica_id)
        if engine is None or engine.memory_mib is None or (used.memory and used.memory[-1].at == engine.at):
            return
        used.memory.append(MemorySample(at=engine.at, memory_mib=engine.memory_mib))
        used.leaks = worn_by_memory(tuple(used.memory), used.memory_mib) if used.memory_mib else ""
