"""One endpoint and the loads that it is decided by, two seconds apart."""

from datetime import timedelta
from typing import Any

import msgspec

from fleetform.domain.scaling import LoadSample, ScalingDecision
from fleetform.planner.autoscale import Memory, Supply, Unheard, desired_replicas, differs
from fleetform.planner.demand import Policy
from tests.builders import NOON


class Endpoint:
    """One endpoint whose decisions are recorded as the loop records them. Every `hear` is two seconds later."""

    def __init__(self, count: int = 1, least: int = 1, most: int = 20, **policy: Any) -> None:
        self.policy = Policy(**{"least": least, "most": most, "target_concurrency": 8, "idle_s": 300} | policy)
        self.supply = Supply(count=count, ready_since=NOON - timedelta(hours=1))
        self.memory: Memory | None = None
        self.now = NOON
        self.recorded: ScalingDecision | None = None
        self.unheard = Unheard()

    def hear(self, load: LoadSample | None, held: int = 0, after_s: float = 2) -> ScalingDecision:
        """One decision after some seconds, recorded when it differs."""
        self.now += timedelta(seconds=after_s)
        decision, self.memory = desired_replicas(self.policy, load, self.supply, self.memory, self.now, held, self.unheard)
        if differs(self.recorded, decision):
            self.recorded = decision
            self.supply = msgspec.structs.replace(self.supply, count=decision.replicas)
        return decision

    def load(self, stable: float = 0.0, burst: float | None = None, **fields: Any) -> LoadSample:
        """A fresh sample; a gateway that has counted for an hour."""
        started: dict[str, Any] = {"at": self.now + timedelta(seconds=2), "since": NOON - timedelta(hours=1)}
        return LoadSample(**started | {"stable": stable, "burst": stable if burst is None else burst} | fields)

    def under(self, stable: float, burst: float | None = None, **fields: Any) -> ScalingDecision:
        """One decision under that load."""
        return self.hear(self.load(stable, burst, **fields))

    def keep(self, seconds: float, stable: float, **fields: Any) -> ScalingDecision:
        """The last decision of so many seconds under that load."""
        for _ in range(int(seconds / 2)):
            decision = self.under(stable, **fields)
        return decision

    @property
    def count(self) -> int:
        return self.supply.count


def resting(**policy: Any) -> Endpoint:
    return Endpoint(count=0, least=0, **policy)
