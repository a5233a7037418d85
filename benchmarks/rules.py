"""Rules that set the number of replicas: ours, as the reconciler calls it, and those of others with their published defaults.

All of them are told the same: requests served or waiting. The target is 0.7 of a replica's slots, as Knative's default has it.
"""

import math
from collections import deque
from datetime import UTC, datetime, timedelta

from benchmarks.replay import MAX_REPLICAS, SLOTS, View
from fleetform.domain.scaling import LoadSample, ScalingDecision
from fleetform.planner.autoscale import Memory, Supply, desired_replicas, differs
from fleetform.planner.demand import Policy

TARGET = 0.7 * SLOTS
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Ours:
    """`desired_replicas`, with the count that the decisions before have led to."""

    name, tick_s = "Fleetform", 2

    def __init__(self, cold_s: float) -> None:
        self._policy = Policy(least=1, most=MAX_REPLICAS, target_concurrency=SLOTS, idle_s=300, start_p95_s=cold_s)
        self._memory: Memory | None = None
        self._count = 1
        self._recorded: ScalingDecision | None = None

    def count(self, view: View) -> int:
        now = EPOCH + timedelta(seconds=view.now_s)
        idle_s = next((float(n) for n, load in enumerate(reversed(view.under_way)) if load), view.now_s)
        load = LoadSample(
            at=now, since=EPOCH - timedelta(hours=1), stable=view.average(60), burst=view.average(6), queued=view.waiting, idle_s=idle_s
        )
        supply = Supply(count=self._count, ready_since=EPOCH)
        decision, self._memory = desired_replicas(self._policy, load, supply, self._memory, now)
        if differs(self._recorded, decision):
            self._recorded, self._count = decision, decision.replicas
        return self._count


class Static:
    """The same number all the time."""

    tick_s = 2

    def __init__(self, replicas: int) -> None:
        self.name, self._replicas = f"static {replicas}", replicas

    def count(self, view: View) -> int:
        return self._replicas


class Knative:
    """The pod autoscaler of Knative Serving. down_delay_s: `scale-down-delay`, 0 by default."""

    tick_s = 2
    stable_s, panic_s, panic_ratio = 60, 6, 2.0

    def __init__(self, down_delay_s: int = 0) -> None:
        self.name = "Knative" + (f", {down_delay_s} s delay" if down_delay_s else "")
        self._delay_s = down_delay_s
        self._panic_since: float | None = None
        self._panic_most = 0
        self._delayed: deque[tuple[float, int]] = deque()

    def count(self, view: View) -> int:
        ready = max(1, view.ready)
        least, most = math.floor(ready / 2), ready * 1000
        stable = min(most, max(least, math.ceil(view.average(self.stable_s) / TARGET)))
        panic = min(most, max(least, math.ceil(view.average(self.panic_s) / TARGET)))
        if panic / ready >= self.panic_ratio:
            self._panic_since = view.now_s
        elif self._panic_since is not None and view.now_s - self._panic_since > self.stable_s:
            self._panic_since, self._panic_most = None, 0
        wanted = stable
        if self._panic_since is not None:
            self._panic_most = wanted = max(self._panic_most, stable, panic)
        wanted = max(1, wanted)
        self._delayed.append((view.now_s, wanted))
        while self._delayed[0][0] < view.now_s - self._delay_s:
            self._delayed.popleft()
        return max(count for _, count in self._delayed)


class HorizontalPods:
    """Kubernetes' horizontal pod autoscaler on the average requests per pod."""

    name, tick_s = "Kubernetes HPA", 15
    tolerance, down_s = 0.1, 300

    def __init__(self) -> None:
        self._asked: deque[tuple[float, int]] = deque()

    def count(self, view: View) -> int:
        there = view.ready + view.starting
        ratio = view.average(15) / (TARGET * there)
        wanted = there if abs(ratio - 1) <= self.tolerance else math.ceil(there * ratio)
        self._asked.append((view.now_s, wanted))
        while self._asked[0][0] < view.now_s - self.down_s:
            self._asked.popleft()
        if wanted > there:
            return min(wanted, max(2 * there, there + 4))
        return max(1, min(there, max(count for _, count in self._asked)))


class RayServe:
    """Ray Serve: a wish must last before it is followed."""

    name, tick_s = "Ray Serve", 1
    look_back_s, up_s, down_s = 30, 30, 600

    def __init__(self) -> None:
        self._above_since: float | None = None
        self._below_since: float | None = None

    def count(self, view: View) -> int:
        there = view.ready + view.starting
        wanted = max(1, math.ceil(view.average(self.look_back_s) / TARGET))
        self._above_since = (self._above_since or view.now_s) if wanted > there else None
        self._below_since = (self._below_since or view.now_s) if wanted < there else None
        if self._above_since is not None and view.now_s - self._above_since >= self.up_s:
            return wanted
        if self._below_since is not None and view.now_s - self._below_since >= self.down_s:
            return wanted
        return there


class SkyServe:
    """SkyPilot's SkyServe: requests a second. rate: what one replica should have."""

    name, tick_s = "SkyServe", 20
    window_s, up_s, down_s = 60, 300, 1200

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._above_s = self._below_s = 0

    def count(self, view: View) -> int:
        there = view.ready + view.starting
        wanted = max(1, math.ceil(view.rate(self.window_s) / self._rate))
        self._above_s = self._above_s + self.tick_s if wanted > there else 0
        self._below_s = self._below_s + self.tick_s if wanted < there else 0
        if self._above_s >= self.up_s or self._below_s >= self.down_s:
            self._above_s = self._below_s = 0
            return wanted
        return there
