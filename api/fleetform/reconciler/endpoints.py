"""One endpoint: load, plan, record, apply.

What is decided is recorded before it is done: a leader that dies between the two leaves a row that its successor finishes, never a
replica or a weight that no row knows of.
"""

from collections.abc import Callable

import msgspec
import structlog

from fleetform.domain.conditions import ConditionType, Reason, with_condition
from fleetform.domain.events import NewEvent
from fleetform.domain.protocol import EvictSleeping, ForgetReplica, HostReplicaState
from fleetform.drivers.base import Members, Pending, Refused
from fleetform.errors import AppError, HostBusy, HostUnreachable, NotLeader, TemporaryError
from fleetform.planner import plan
from fleetform.planner.model import (
    Action,
    Book,
    Bury,
    Drop,
    Evict,
    Forget,
    Move,
    Plan,
    PublishRoute,
    Release,
    RemoveRoute,
    Reserve,
    Start,
    Stop,
)
from fleetform.planner.status import ADMISSION
from fleetform.reconciler.deps import SHARD, Deps
from fleetform.reconciler.differences import changes_of
from fleetform.reconciler.observing import Observer
from fleetform.reconciler.outcome import Done, InProgress, Outcome
from fleetform.reconciler.publisher import Publisher
from fleetform.reconciler.scaling import Scaler
from fleetform.reconciler.sending import Sender
from fleetform.reconciler.sight import HostSight, Sight
from fleetform.reconciler.starts import Starts
from fleetform.reconciler.wearing import Wearing
from fleetform.steps import Step, step
from fleetform.store import fleet, recording
from fleetform.store.fleet import EndpointFacts
from fleetform.store.recording import Changes

log = structlog.get_logger(__name__)


class EndpointLoop:
    """Looks after endpoints under one leader's epoch. on_release: called when something was given back that others may wait for.

    owners: replica id → uid of its endpoint. keys: `project/name` → uid. hungry: uids of endpoints that wait for room or quota.
    """

    def __init__(
        self,
        deps: Deps,
        epoch: int,
        sight: Sight,
        publisher: Publisher,
        scaler: Scaler,
        wearing: Wearing,
        on_release: Callable[[], None],
    ) -> None:
        self._deps = deps
        self._on_release = on_release
        self._epoch = epoch
        self._sight = sight
        self._publisher = publisher
        self._scaler = scaler
        self._wearing = wearing
        self._starts = Starts()
        self._observer = Observer(deps, sight, publisher, scaler, wearing)
        self._sender = Sender(deps.driver, epoch, sight)
        self.owners: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.hungry: set[str] = set()

    async def reconcile(self, uid: str) -> Outcome:
        """Bring one endpoint a step further. NotLeader when another server leads."""
        facts = await fleet.load(uid)
        if facts is None:
            return Done()
        self._remember(facts)
        facts = msgspec.structs.replace(facts, start_times=await self._starts.of(facts))
        made = await self._planned(facts)
        made, waits_s = await self._granted(made)
        released = await self._record(facts, made)
        self._scaler.learn(facts, made)
        self._wearing.learn(facts, made)
        try:
            await self._apply(facts, made)
            if released and made.blocked:
                # It may have made room for itself, in a swap: it looks first, and then those who wait for any room.
                return await self.reconcile(uid)
            outcome = self._outcome(uid, made, waits_s)
            # What follows from a step of the traffic is planned and recorded with the next look, not with the next event.
            return InProgress(after_s=0) if made.rollout != facts.rollout and not facts.desired.deleting else outcome
        finally:
            if released:
                self._on_release()

    def _remember(self, facts: EndpointFacts) -> None:
        desired = facts.desired
        self.keys[f"{desired.project}/{desired.name}"] = desired.uid
        for item in facts.replicas:
            self.owners[item.replica.replica_id] = desired.uid

    async def _planned(self, facts: EndpointFacts) -> Plan:
        now = self._deps.now()
        observed = await self._observer.observed(facts)
        made = plan(facts.desired, observed, now)
        if not made.needs_capacity:
            return made
        wanted = facts.desired.effective.instance_type
        types = set() if made.rollout is None else {track.instance_type for track in made.rollout.tracks.values()}
        found = await fleet.capacity(facts.desired.project, wanted, types - {wanted})
        seen = tuple(msgspec.structs.replace(host, reachable=self._sight.is_reachable(host.host)) for host in found.hosts)
        return plan(
            facts.desired,
            msgspec.structs.replace(observed, capacity=msgspec.structs.replace(found, hosts=seen, asleep=self._sight.asleep())),
            now,
        )

    async def _granted(self, made: Plan) -> tuple[Plan, float | None]:
        """The plan with the members that the driver grants; reservations that are pending are left out, and when to ask again."""
        actions: list[Action] = []
        waits_s: float | None = None
        for action in made.actions:
            if not isinstance(action, Reserve):
                actions.append(action)
                continue
            step(Step.RESERVE_BEFORE)
            grant = await self._deps.driver.reserve(action.replica.replica_id, action.shape, action.replica.members[0])
            step(Step.RESERVED)
            match grant:
                case Members():
                    replica = msgspec.structs.replace(action.replica, members=grant.members)
                    actions.append(msgspec.structs.replace(action, replica=replica))
                case Pending():
                    waits_s = grant.after_s if waits_s is None else min(waits_s, grant.after_s)
                case Refused():
                    raise recording.Overtaken(f"the reservation was refused: {grant.message}")
        return msgspec.structs.replace(made, actions=tuple(actions)), waits_s

    async def _record(self, facts: EndpointFacts, made: Plan) -> bool:
        """Write what differs, if anything does. True when something was released."""
        new = changes_of(facts, made)
        if new is None:
            return False
        try:
            await recording.record(facts, new, SHARD, self._epoch, self._deps.now())
        except AppError:
            for item in new.reserved:
                await self._deps.driver.release(item.replica.replica_id)
            raise
        self._starts.learn(new.started)
        for item in new.reserved:
            self.owners[item.replica.replica_id] = facts.desired.uid
        for replica_id in new.dropped:
            self.owners.pop(replica_id, None)
        for event in new.events:
            log.info("event", project=facts.desired.project, endpoint=facts.desired.name, reason=event.reason, replica=event.replica_id)
        return bool(new.released or new.dropped or new.booked is not None or new.tombstone)

    async def _apply(self, facts: EndpointFacts, made: Plan) -> None:
        """Do what the plan says beyond the rows. What one host does not take does not keep the others from theirs."""
        failure: TemporaryError | None = None
        for action in made.actions:
            match action:
                case PublishRoute():
                    self._publisher.put(action.route)
                case RemoveRoute():
                    self._publisher.remove(action.key)
                case Bury():
                    key = f"{facts.desired.project}/{facts.desired.name}"
                    self._publisher.forget(key)
                    self._scaler.forget(facts.desired.uid, key)
                    self.keys.pop(key, None)
                    self.hungry.discard(facts.desired.uid)
                case Release() | Drop():
                    step(Step.RELEASE_BEFORE)
                    await self._deps.driver.release(action.replica_id)
                    step(Step.RELEASED)
                case Start() | Stop() | Forget() | Evict():
                    try:
                        await self._sender.send(action.host, action.command_id, action.command)
                    except NotLeader:
                        raise
                    except TemporaryError as error:
                        failure = error
                case Reserve() | Move() | Book():
                    pass  # written by _record
        if failure is not None:
            raise failure

    async def tell_poison(self, uid: str, what: str) -> None:
        """Show that a pass over the endpoint met a bug; the next pass that succeeds takes the words back."""
        facts = await fleet.load(uid)
        if facts is None:
            return
        message = f"an internal error ({what}) keeps this endpoint from being looked after; what serves is kept, and it is tried again"
        now = self._deps.now()
        conditions = with_condition(facts.status.conditions, ConditionType.PROGRESSING, False, Reason.STALLED, message, now)
        status = msgspec.structs.replace(facts.status, conditions=conditions)
        event = NewEvent(kind="Warning", reason="InternalError", message=message)
        await recording.record(facts, Changes(status=status, events=(event,)), SHARD, self._epoch, now)

    async def tidy(self) -> None:
        """Let hosts forget what has ended and has no row, and end what sleeps for an endpoint that is gone.

        What runs without a row is told in the log, and left alone.
        """
        for name, host in tuple(self._sight.hosts.items()):
            try:
                await self._end_strangers(name, host)
                await self._forget_strangers(name, host)
            except (HostUnreachable, HostBusy) as error:
                # The next sweep is soon enough for it, and the other hosts do not wait for that.
                log.warning("host_not_tidied", host=name, error=error.message)

    async def _end_strangers(self, name: str, host: HostSight) -> None:
        if not (host.reachable and host.sleeping):
            return
        sleeping = host.sleeping
        living = set(await fleet.living_endpoints())
        lost = [engine.engine_id for engine in sleeping if engine.endpoint_uid not in living]
        if lost:
            await self._sender.send(name, f"evict-{self._deps.new_id()}", EvictSleeping(engine_ids=tuple(lost)))

    async def _forget_strangers(self, name: str, host: HostSight) -> None:
        ids = [replica_id for replica_id in host.replicas if replica_id not in self.owners]
        known = await fleet.known_replicas(ids) if ids and host.reachable else set(ids)
        for replica_id in sorted(set(ids) - known):
            seen = host.replicas.get(replica_id)
            if seen is None:
                continue  # forgotten while the rows were asked
            if seen.state is HostReplicaState.EXITED:
                await self._sender.send(name, f"forget-{replica_id}", ForgetReplica(replica_id=replica_id))
            else:
                log.warning("unknown_replica", host=name, replica=replica_id, state=seen.state)

    def _has_ended(self, action: Action) -> bool:
        """True when what was to be stopped turned out to be over."""
        if not isinstance(action, Stop):
            return False
        seen = self._sight.replica(action.host, action.command.replica_id)
        return seen is not None and seen.state is HostReplicaState.EXITED

    def _outcome(self, uid: str, made: Plan, waits_s: float | None) -> Outcome:
        if any(isinstance(action, Bury) for action in made.actions):
            return Done()
        if waits_s is not None:
            return InProgress(after_s=waits_s)
        if any(isinstance(action, Reserve | Start) or self._has_ended(action) for action in made.actions):
            return InProgress(after_s=0)
        now = self._deps.now()
        soon = [] if made.next_at is None else [max(0.0, (made.next_at - now).total_seconds())]
        if any(blocked.reason in ADMISSION for blocked in made.blocked):
            self.hungry.add(uid)  # woken when something is released or a host offers more; the slow pass sees what that misses
        else:
            self.hungry.discard(uid)
        return InProgress(after_s=min(soon)) if soon else Done()
