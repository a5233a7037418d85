"""The database in memory: what store/fleet.py and store/recording.py promise. A transaction is whole, at one point in time."""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from fleetform.domain.desired import Desired, VersionFacts
from fleetform.domain.effective import EffectiveEndpoint
from fleetform.domain.endpoint import EndpointStatus
from fleetform.domain.machine import Capacity, HostCapacity, Reservation, Shape
from fleetform.domain.replica import Replica
from fleetform.domain.rollout import RolloutState
from fleetform.domain.scaling import ScalingDecision
from fleetform.errors import DatabaseAway, NotLeader
from fleetform.store.fleet import EndpointFacts, RecordedReplica
from fleetform.store.lease import TTL_S
from fleetform.store.recording import Changes, NewReplica, Overtaken
from fleetform.store.starts import Started
from tests.simulation.points import Fate, Points

PROJECT = "acme"


class EndpointRow:
    """One endpoint. booked: its floor in the quota."""

    def __init__(self, uid: str, name: str, effective: EffectiveEndpoint, now: datetime) -> None:
        self.uid, self.name, self.effective, self.created_at = uid, name, effective, now
        self.alive, self.deleting, self.generation, self.revision = True, False, 1, 1
        self.booked = effective.min_replicas
        self.status = EndpointStatus(model=name)
        self.rollout: RolloutState | None = None
        self.scaling: ScalingDecision | None = None


class Memory:
    """Rows, and the transactions over them. shapes: instance type → what a replica takes. writes: committed transactions of servers.

    Overtaken: stands where store/recording.py has it.
    """

    Overtaken = Overtaken

    def __init__(
        self,
        points: Points,
        shapes: dict[str, Shape],
        quotas: dict[str, int],
        versions: dict[str, VersionFacts],
        now: Callable[[], datetime],
    ) -> None:
        self._points = points
        self._now = now
        self.shapes, self.quotas, self.versions = shapes, quotas, versions
        self.endpoints: dict[str, EndpointRow] = {}
        self.replicas: dict[str, Replica] = {}
        self.reservations: dict[str, tuple[Reservation, str, str]] = {}
        self.hosts: dict[str, HostCapacity] = {}
        self.epoch, self.expires_at = 0, now()
        self.writes = 0
        self.started: list[Started] = []

    # What a user does; True when the API accepts it.

    def put(self, name: str, effective: EffectiveEndpoint) -> bool:
        """Create or replace an endpoint: the floor is booked, or the PUT is refused."""
        row = self.living(name)
        if row is not None and row.deleting:
            return False
        others = self.used(effective.instance_type, but=None if row is None else row.uid)
        mine = self.used(effective.instance_type, but=None) - others
        if effective.min_replicas > mine and others + effective.min_replicas > self.quotas[effective.instance_type]:
            return False
        if row is None:
            uid = f"e{len(self.endpoints) + 1}"
            self.endpoints[uid] = EndpointRow(uid, name, effective, self._now())
        elif row.effective != effective:
            row.effective, row.booked = effective, effective.min_replicas
            row.generation += 1
            row.revision += 1
        return True

    def delete(self, name: str) -> bool:
        row = self.living(name)
        if row is None:
            return False
        row.deleting, row.booked = True, 0
        return True

    def set_quota(self, instance_type: str, limit: int) -> bool:
        if limit < self.used(instance_type, but=None):
            return False
        self.quotas[instance_type] = limit
        return True

    def living(self, name: str) -> EndpointRow | None:
        return next((row for row in self.endpoints.values() if row.alive and row.name == name), None)

    def used(self, instance_type: str, but: str | None) -> int:
        """Replicas held of the quota: per endpoint the larger of what is booked and what is reserved."""
        found = 0
        for row in self.endpoints.values():
            booked = row.booked if row.alive and row.effective.instance_type == instance_type else 0
            if row.uid != but:
                found += max(booked, self.reserved(instance_type, row.uid))
        return found

    def reserved(self, instance_type: str, uid: str | None = None) -> int:
        return sum(1 for _, of, owner in self.reservations.values() if of == instance_type and uid in (None, owner))

    # What a server does.

    def take(self, *, holder_is_dead: bool) -> int | None:
        """The new epoch, or None while another one leads."""
        if not holder_is_dead and self._now() < self.expires_at:
            return None
        self.epoch += 1
        self.renew()
        return self.epoch

    def renew(self) -> None:
        self.expires_at = self._now() + timedelta(seconds=TTL_S)

    async def load(self, uid: str) -> EndpointFacts | None:
        await self._read("load")
        row = self.endpoints.get(uid)
        if row is None or not row.alive:
            return None
        desired = Desired(
            uid=uid,
            project=PROJECT,
            name=row.name,
            generation=row.generation,
            created_at=row.created_at,
            effective=row.effective,
            versions=self.versions,
            shape=self.shapes.get(row.effective.instance_type),
            deleting=row.deleting,
        )
        replicas = []
        for replica in sorted(self.replicas.values(), key=lambda r: r.replica_id):
            if replica.endpoint_uid == uid:
                held = self.reservations.get(replica.replica_id)
                replicas.append(RecordedReplica(replica=replica, holds=held is not None, instance_type="" if held is None else held[1]))
        return EndpointFacts(
            desired=desired,
            status=row.status,
            rollout=row.rollout,
            replicas=tuple(replicas),
            booked=row.booked,
            revision=row.revision,
            scaling=row.scaling,
        )

    async def capacity(self, _project: str, instance_type: str, others: Collection[str] = ()) -> Capacity:
        await self._read("capacity")
        return Capacity(
            hosts=tuple(self.hosts[name] for name in sorted(self.hosts)),
            reservations=tuple(reservation for reservation, _, _ in self.reservations.values()),
            quota_limit=self.quotas[instance_type],
            quota_used=self.used(instance_type, but=None),
            free_elsewhere={other: self.quotas[other] - self.used(other, but=None) for other in others},
        )

    async def living_endpoints(self) -> list[str]:
        await self._read("living endpoints")
        return [uid for uid, row in self.endpoints.items() if row.alive]

    async def known_replicas(self, ids: list[str]) -> set[str]:
        await self._read("known replicas")
        return set(ids) & self.replicas.keys()

    async def known(self) -> list[Started]:
        """store/starts.py."""
        await self._read("starts")
        return list(self.started)

    async def save(self, capacity: HostCapacity, _boot_id: str, _now: datetime) -> bool:
        """store/hosts.py."""
        before, self.hosts[capacity.host] = self.hosts.get(capacity.host), capacity
        return before != capacity

    async def record(self, facts: EndpointFacts, new: Changes, _shard: str, epoch: int, _now: datetime) -> None:
        fate = await self._points.reach(f"record {facts.desired.name}", Fate.LOST, Fate.UNANSWERED)
        if fate is Fate.LOST:
            raise DatabaseAway("the database is away")
        self._write(facts, new, epoch)
        self.writes += 1
        if fate is Fate.UNANSWERED:
            raise DatabaseAway("the reply to COMMIT was lost")
        await self._points.reach(f"recorded {facts.desired.name}")

    def _write(self, facts: EndpointFacts, new: Changes, epoch: int) -> None:
        if epoch != self.epoch:
            raise NotLeader("another server leads", epoch=epoch, seen=self.epoch)
        row = self.endpoints[facts.desired.uid]
        if not row.alive or row.generation != facts.desired.generation or row.deleting != facts.desired.deleting:
            raise Overtaken("the endpoint has changed meanwhile")
        self._check_room(facts, new.reserved)
        if new.status is not None:
            row.revision = facts.revision + 1
            row.status = new.status
        row.rollout = None if new.tombstone else new.rollout or facts.rollout
        row.scaling = None if new.tombstone else new.scaling or facts.scaling
        row.booked = facts.booked if new.booked is None else new.booked
        row.alive = not new.tombstone
        self.started += new.started
        self._points.tell(f"  {row.name} at {self._now():%M:%S}: {_in_words(new)}")
        for item in new.reserved:
            self.replicas[item.replica.replica_id] = item.replica
            self.reservations[item.replica.replica_id] = (item.reservation, item.instance_type, row.uid)
        for replica in new.moved:
            if replica.replica_id in self.replicas:
                self.replicas[replica.replica_id] = replica
        for replica_id in (*new.released, *new.dropped):
            self.reservations.pop(replica_id, None)
        for replica_id in new.dropped:
            self.replicas.pop(replica_id, None)

    def _check_room(self, facts: EndpointFacts, new: tuple[NewReplica, ...]) -> None:
        for instance_type in sorted({item.instance_type for item in new}):
            used = self.used(instance_type, but=None)
            wanted = sum(1 for item in new if item.instance_type == instance_type)
            floor = facts.booked - facts.held if instance_type == facts.desired.effective.instance_type else 0
            if wanted > max(0, floor) + max(0, self.quotas[instance_type] - used):
                raise Overtaken("the quota has no room")
        for host in sorted({item.reservation.host for item in new}):
            mine = [item.reservation for item in new if item.reservation.host == host]
            taken = [reservation for reservation, _, _ in self.reservations.values() if reservation.host == host]
            devices = [device for reservation in (*mine, *taken) for device in reservation.devices]
            if len(set(devices)) != len(devices):
                raise Overtaken("a device was taken meanwhile")
            if sum(r.memory_mib for r in (*mine, *taken)) > self.hosts[host].memory_mib:
                raise Overtaken(f"{host} has no room any more")

    async def _read(self, what: str) -> None:
        if await self._points.reach(what, Fate.LOST) is Fate.LOST:
            raise DatabaseAway("the database is away")


def _in_words(new: Changes) -> str:
    """What a plan wrote, in one line."""
    said = [f"{item.replica.replica_id} of {item.replica.track} placed" for item in new.reserved]
    said += [f"{replica.replica_id} {replica.phase}" for replica in new.moved]
    said += [f"{replica_id} released" for replica_id in new.released] + [f"{replica_id} dropped" for replica_id in new.dropped]
    if new.rollout is not None:
        said.append(f"step {new.rollout.step} old {new.rollout.old} new {new.rollout.new} in force {new.rollout.in_force}")
    return "; ".join(said) or "status"
