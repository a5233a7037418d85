"""Looks at the load every two seconds, and has an endpoint looked at when its replica count should be another one.

It writes nothing: what it decides is handed to the endpoint's next pass, which records it with all else. Samples and what the rule
remembers are kept in memory; a new leader holds every count until it knows enough again. An endpoint that rests costs two looks into
dictionaries.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog

from fleetform.domain.replica import ReplicaPhase
from fleetform.domain.scaling import ScalingDecision, ScalingReason
from fleetform.errors import AppError
from fleetform.planner.autoscale import FRESH_S, Memory, Supply, desired_replicas, differs
from fleetform.planner.count import may_move, policy_of
from fleetform.planner.demand import Policy
from fleetform.planner.model import Move, Plan
from fleetform.planner.schedule import CountBounds, bounds_at
from fleetform.reconciler.deps import Deps
from fleetform.reconciler.loads import Loads
from fleetform.reconciler.sight import Sight
from fleetform.store.fleet import EndpointFacts

log = structlog.get_logger(__name__)
TICK_S = 2.0
GATEWAY_LOST_S = 900.0
"""A gateway that has been silent for so long is not counted, nor is its acknowledgement waited for. Much longer than what makes a host
lost for its replicas: one that is cut off from the server alone serves on, by the routes that it has."""
AGAIN_S = 30.0
"""How soon an endpoint is looked at again for a decision that its pass did not record."""


class Scaled:
    """An endpoint whose count may move, as its last pass left it. recorded: the decision that holds.

    memory, decision: of the rule; decision is what differs from the recorded one, or None. asked: for which decision its pass was asked
    for, and when.
    """

    def __init__(self, facts: EndpointFacts, made: Plan, recorded: ScalingDecision, before: "Scaled | None") -> None:
        self.uid = facts.desired.uid
        self.key = f"{facts.desired.project}/{facts.desired.name}"
        self.recorded = recorded
        self._effective = facts.desired.effective
        self._state = made.rollout
        self._start_times = facts.start_times
        self._bounds: CountBounds | None = None
        self._policy: Policy | None = None
        moved = {action.replica.replica_id: action.replica for action in made.actions if isinstance(action, Move)}
        replicas = [moved.get(item.replica.replica_id, item.replica) for item in facts.replicas]
        ready = [replica for replica in replicas if replica.phase is ReplicaPhase.READY]
        self.replica_ids = tuple(replica.replica_id for replica in ready)
        since = min((replica.ready_at for replica in ready if replica.ready_at is not None), default=None)
        self.supply = Supply(count=recorded.replicas, ready_since=since, rolling=made.rollout is not None and not made.rollout.settled)
        self.memory: Memory | None = None if before is None else before.memory
        self.decision: ScalingDecision | None = None
        self.asked: tuple[int, ScalingReason, datetime] | None = None
        if before is not None and (before.recorded == recorded or (before.decision is not None and before.decision.at > recorded.at)):
            # One that came while the pass was being recorded: the next pass has been asked for, and takes it.
            self.decision, self.asked = before.decision, before.asked

    def policy(self, now: datetime) -> Policy | None:
        """What it asks of its scaling now; None before it has a version."""
        if self._state is None:
            return None
        bounds = self._bounds
        if self._policy is None or bounds is None or (bounds.next_at is not None and now >= bounds.next_at):
            self._bounds = bounds_at(self._effective, now)
            self._policy = policy_of(self._effective, self._state, self._start_times, self._bounds)
        return self._policy

    def rests(self, policy: Policy) -> bool:
        """True when no load is also no change: it is at its least, for a reason that holds without one."""
        return self.supply.count <= policy.least and self.recorded.reason not in (ScalingReason.NO_DATA, ScalingReason.MAXIMUM)


class Scaler:
    """The autoscaler of one leader. hint: has an endpoint (uid) looked at. loads: what hosts measured last, for whoever wants to know.
    lost: hosts that have been silent for so long that nothing of them is counted or waited for.

    on_loads: called after each round of answers.
    """

    def __init__(self, deps: Deps, sight: Sight, hint: Callable[[str], None], on_loads: Callable[[], None] | None = None) -> None:
        self.loads = Loads()
        self.lost: frozenset[str] = frozenset()
        self._deps = deps
        self._sight = sight
        self._hint = hint
        self._on_loads = on_loads
        self._endpoints: dict[str, Scaled] = {}
        self._uids: dict[str, str] = {}
        self._waiting: dict[str, Mapping[str, int]] = {}
        self._began = deps.now()

    async def run(self) -> None:
        """Ask and decide every two seconds, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(TICK_S)

    async def look(self) -> None:
        """Ask every host once, then decide for every endpoint. A host that does not answer leaves its last answer to grow old."""
        await asyncio.gather(*(self._ask(name) for name, host in self._sight.hosts.items() if host.reachable))
        now = self._deps.now()
        self.lost = self._sight.silent_for(max(GATEWAY_LOST_S, self._deps.settings.host_lost_s), now)
        self.loads.leave_out(self.lost)
        for host in self.lost:
            self._waiting.pop(host, None)
        if self._on_loads is not None:
            self._on_loads()
        for scaled in tuple(self._endpoints.values()):
            try:
                self._decide(scaled, now)
            except Exception:
                # What goes wrong with one endpoint stays with it; its count stays too.
                log.exception("scaling_failed", endpoint=scaled.key)

    def learn(self, facts: EndpointFacts, made: Plan) -> None:
        """Take in what a pass over an endpoint has recorded."""
        uid, key = facts.desired.uid, f"{facts.desired.project}/{facts.desired.name}"
        if made.scaling is None or facts.desired.deleting or not may_move(facts.desired.effective):
            self.forget(uid, key)
            return
        scaled = Scaled(facts, made, made.scaling, self._endpoints.get(uid))
        self._endpoints[uid], self._uids[key] = scaled, uid
        if scaled.supply.count == 0 and self._held(key):
            self._decide(scaled, self._deps.now())

    def forget(self, uid: str, key: str) -> None:
        """Nothing is to be decided for the endpoint."""
        self._endpoints.pop(uid, None)
        if self._uids.get(key) == uid:
            del self._uids[key]
        self.loads.forget(key)

    def decision(self, uid: str) -> ScalingDecision | None:
        """What should be recorded of an endpoint's count, where that differs from what is."""
        scaled = self._endpoints.get(uid)
        return None if scaled is None else scaled.decision

    def waiting(self, host: str, held: Mapping[str, int]) -> None:
        """A gateway says how many requests it holds, by endpoint key. Whoever rests with a request held is woken at once."""
        self._waiting[host] = held
        for key in held:
            scaled = self._endpoints.get(self._uids.get(key, ""))
            if scaled is not None and scaled.supply.count == 0 and self._held(key):
                self._decide(scaled, self._deps.now())

    def _held(self, key: str) -> int:
        return sum(held.get(key, 0) for held in self._waiting.values())

    async def _ask(self, host: str) -> None:
        try:
            async with asyncio.timeout(TICK_S):
                self.loads.take(await self._deps.driver.load(host), self._deps.now())
        except (AppError, TimeoutError) as error:
            log.debug("load_unknown", host=host, error=str(error) or type(error).__name__)

    def _decide(self, scaled: Scaled, now: datetime) -> None:
        policy = scaled.policy(now)
        held = self._held(scaled.key)
        if policy is None or (not held and scaled.rests(policy) and not self.loads.is_busy(scaled.key)):
            return
        load = self.loads.sample(scaled.key, scaled.replica_ids, now)
        if load is None and not held and now - self._began < timedelta(seconds=FRESH_S):
            return  # the gateways are still being asked for the first time
        found, scaled.memory = desired_replicas(policy, load, scaled.supply, scaled.memory, now, held, self.loads.unheard(now))
        if not differs(scaled.recorded, found):
            scaled.decision = None
            return
        scaled.decision, asked = found, scaled.asked
        if asked is None or asked[:2] != (found.replicas, found.reason) or now - asked[2] >= timedelta(seconds=AGAIN_S):
            scaled.asked = (found.replicas, found.reason, now)
            self._hint(scaled.uid)
