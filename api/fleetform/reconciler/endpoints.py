"""One endpoint: load, plan, record, apply.

What is decided is recorded before it is done: a leader that dies between the two leaves a row that its successor finishes, never a
replica or a weight that no row knows of.
"""

from collections.abc import Callable

import msgspec
import structlog

from fleetform.domain.conditions import ConditionType, Reason, same_but_time, with_condition
from fleetform.domain.endpoint import EndpointStatus
from fleetform.domain.events import NewEvent
from fleetform.domain.load import Windows
from fleetform.domain.protocol import (
    PROTOCOL_VERSION,
    Command,
    CommandRequest,
    CommandResult,
    ForgetReplica,
    HostReplica,
    HostReplicaState,
    Prefetch,
    StartReplica,
    StopReplica,
    VerifyArtifact,
)
from fleetform.domain.replica import FailureReason, Replica
from fleetform.drivers.base import Members, Pending, Refused
from fleetform.errors import AppError, NotLeader, TemporaryError
from fleetform.planner import gate, plan
from fleetform.planner.model import (
    Action,
    Book,
    Bury,
    Drop,
    Forget,
    Move,
    Observed,
    Plan,
    PublishRoute,
    Release,
    RemoveRoute,
    Reserve,
    SeenReplica,
    Start,
    Stop,
)
from fleetform.planner.status import ADMISSION
from fleetform.reconciler.comparison import compared
from fleetform.reconciler.deps import SHARD, Deps
from fleetform.reconciler.outcome import Done, InProgress, Outcome
from fleetform.reconciler.publisher import Publisher
from fleetform.reconciler.scaling import Scaler
from fleetform.reconciler.sight import Sight
from fleetform.reconciler.starts import Starts
from fleetform.reconciler.wearing import Wearing
from fleetform.steps import Step, step
from fleetform.store import fleet, recording
from fleetform.store.fleet import EndpointFacts
from fleetform.store.recording import Changes, NewReplica
from fleetform.store.starts import Started

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
        observed = msgspec.structs.replace(self._observed(facts), windows=await self._windows(facts))
        made = plan(facts.desired, observed, now)
        if not made.needs_capacity:
            return made
        found = await fleet.capacity(facts.desired.project, facts.desired.effective.instance_type)
        seen = tuple(msgspec.structs.replace(host, reachable=self._sight.is_reachable(host.host)) for host in found.hosts)
        return plan(facts.desired, msgspec.structs.replace(observed, capacity=msgspec.structs.replace(found, hosts=seen)), now)

    async def _windows(self, facts: EndpointFacts) -> Windows | None:
        """How the versions of a rollout do, when its step is held; None: nobody asks for it, or no gateway answers."""
        since = gate.watched_since(facts.rollout, facts.desired.effective)
        if since is None or facts.desired.deleting:
            return None
        return await compared(self._deps.driver, self._sight, f"{facts.desired.project}/{facts.desired.name}", since)

    def _observed(self, facts: EndpointFacts) -> Observed:
        desired = facts.desired
        return Observed(
            status=facts.status,
            seed=self._deps.new_id(),
            start_timeout_s=self._deps.settings.start_timeout_s,
            host_lost_s=self._deps.settings.host_lost_s,
            booked=facts.booked,
            held=facts.held,
            rollout=facts.rollout,
            scaling=facts.scaling,
            decision=self._scaler.decision(desired.uid),
            start_times=facts.start_times,
            replicas=tuple(
                SeenReplica(
                    replica=item.replica,
                    seen=self._sight.replica(item.replica.members[0].host, item.replica.replica_id),
                    reachable=self._sight.is_reachable(item.replica.members[0].host),
                    holds=item.holds,
                    away_since=self._sight.away_since(item.replica.members[0].host),
                    worn=self._wearing.worn(item.replica.replica_id),
                    in_flight=self._scaler.loads.in_flight(item.replica.replica_id),
                )
                for item in facts.replicas
            ),
            published=self._publisher.published(f"{desired.project}/{desired.name}", desired.project, desired.name),
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
                case Release() | Drop():
                    step(Step.RELEASE_BEFORE)
                    await self._deps.driver.release(action.replica_id)
                    step(Step.RELEASED)
                case Start() | Stop() | Forget():
                    try:
                        await self._send(action.host, action.command_id, action.command)
                    except NotLeader:
                        raise
                    except TemporaryError as error:
                        failure = error
                case Reserve() | Move() | Book():
                    pass  # written by _record
        if failure is not None:
            raise failure

    async def _send(self, host: str, command_id: str, command: Command) -> None:
        request = CommandRequest(protocol_version=PROTOCOL_VERSION, epoch=self._epoch, command_id=command_id, command=command)
        before, sent = _steps_of(command)
        step(before)
        result = await self._deps.driver.command(host, request)
        step(sent)
        log.info("command", host=host, command=command_id, accepted=result.accepted, repeated=result.repeated)
        seen = _seen_by(command, result)
        if seen is not None:
            self._sight.note(host, seen)
        if isinstance(command, ForgetReplica) and result.accepted:
            self._sight.forget(host, command.replica_id)

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
        """Let hosts forget what has ended and has no row; what runs without a row is told in the log, and left alone."""
        for name, host in tuple(self._sight.hosts.items()):
            ids = [replica_id for replica_id in host.replicas if replica_id not in self.owners]
            known = await fleet.known_replicas(ids) if ids and host.reachable else set(ids)
            for replica_id in sorted(set(ids) - known):
                seen = host.replicas.get(replica_id)
                if seen is None:
                    continue  # forgotten while the rows were asked
                if seen.state is HostReplicaState.EXITED:
                    await self._send(name, f"forget-{replica_id}", ForgetReplica(replica_id=replica_id))
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


def changes_of(facts: EndpointFacts, made: Plan) -> Changes | None:
    """What a plan writes down; None when nothing differs from what is recorded."""
    reserved, moved, released, dropped, booked = [], [], [], [], None
    tombstone = False
    for action in made.actions:
        match action:
            case Reserve():
                reserved.append(NewReplica(replica=action.replica, reservation=action.reservation, instance_type=action.instance_type))
            case Move():
                moved.append(action.replica)
            case Release():
                released.append(action.replica_id)
            case Drop():
                dropped.append(action.replica_id)
            case Book():
                booked = action.replicas
            case Bury():
                tombstone = True
            case Start() | Stop() | Forget() | PublishRoute() | RemoveRoute():
                pass  # done, not written
    status = None if _same_status(facts.status, made.status) else made.status
    rollout = None if made.rollout == facts.rollout else made.rollout
    scaling = None if made.scaling == facts.scaling else made.scaling
    rows_differ = bool(reserved or moved or released or dropped or tombstone) or booked is not None
    if not rows_differ and status is None and rollout is None and scaling is None:
        return None
    return Changes(
        reserved=tuple(reserved),
        moved=tuple(moved),
        released=tuple(released),
        dropped=tuple(dropped),
        status=status,
        rollout=rollout,
        scaling=scaling,
        booked=booked,
        holds=made.holds,
        events=made.events,
        next_at=made.next_at,
        tombstone=tombstone,
        records=made.records,
        started=_started(facts, moved),
    )


def _started(facts: EndpointFacts, moved: list[Replica]) -> tuple[Started, ...]:
    """What the starts took of those that become ready with this write."""
    before = {item.replica.replica_id: item for item in facts.replicas}
    found = []
    for replica in moved:
        item, version = before.get(replica.replica_id), facts.desired.versions.get(replica.model_version)
        if replica.ready_at is None or item is None or item.replica.ready_at is not None or not item.holds or version is None:
            continue
        seconds = (replica.ready_at - replica.created_at).total_seconds()
        found.append(
            Started(
                version_uid=version.uid, model_version=replica.model_version, instance_type=item.instance_type, seconds=max(0.0, seconds)
            )
        )
    return tuple(found)


def _seen_by(command: Command, result: CommandResult) -> HostReplica | None:
    """What the answer to a command tells of its replica; None: nothing that a report does not tell better."""
    match command:
        case StartReplica() if result.accepted:
            return HostReplica(replica_id=command.replica_id, state=HostReplicaState.FETCHING, seq=0)
        case StartReplica():
            reason = FailureReason.LAUNCH_REFUSED
            return HostReplica(replica_id=command.replica_id, state=HostReplicaState.EXITED, seq=0, failure=reason, message=result.message)
        case StopReplica() if result.unknown:
            return HostReplica(replica_id=command.replica_id, state=HostReplicaState.EXITED, seq=0)
        case _:
            return None


def _steps_of(command: Command) -> tuple[Step, Step]:
    """The steps before and after a command is sent."""
    match command:
        case StartReplica():
            return Step.START_BEFORE, Step.START_SENT
        case StopReplica():
            return Step.STOP_BEFORE, Step.STOP_SENT
        case ForgetReplica():
            return Step.FORGET_BEFORE, Step.FORGET_SENT
        case VerifyArtifact() | Prefetch():
            return Step.VERIFY_BEFORE, Step.VERIFY_SENT


def _same_status(a: EndpointStatus, b: EndpointStatus) -> bool:
    """True when nothing differs but times and the revision."""
    plain = msgspec.structs.replace(b, conditions=a.conditions, revision=a.revision)
    return plain == a and same_but_time(a.conditions, b.conditions)
