"""A region small enough to run inside one test: what the planner asks for is done, by hosts and proxies that can be told to misbehave."""

import itertools
from collections import Counter
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from fleetform.domain.desired import Desired, VersionFacts
from fleetform.domain.effective import EffectiveEndpoint
from fleetform.domain.endpoint import EndpointStatus
from fleetform.domain.load import TrackWindow, Windows
from fleetform.domain.machine import Asleep, Capacity, HostCapacity, Reservation, Shape
from fleetform.domain.protocol import HostReplica, HostReplicaState, SleepingEngine
from fleetform.domain.replica import FailureReason, Replica, ReplicaPhase, Unix
from fleetform.domain.rollout import Rollout, RolloutState, StartTimes
from fleetform.domain.scaling import ScalingDecision, ScalingReason
from fleetform.drivers.sleepers import Sleepers
from fleetform.planner import gate, plan
from fleetform.planner.model import (
    Action,
    Book,
    Bury,
    Drop,
    Evict,
    Forget,
    Move,
    Observed,
    Plan,
    Published,
    PublishRoute,
    Release,
    RemoveRoute,
    Reserve,
    SeenReplica,
    SeenSleeper,
    Start,
    Stop,
)
from tests.builders import CPU_SHAPE, NOON, a_host, a_manifest, effective_endpoint

S = HostReplicaState
T = TypeVar("T")


class World:
    """One endpoint and everything around it.

    broken: variant → why its starts fail. quota, booked: of the endpoint's instance type. quotas: of other types; others: 100. away: hosts
    that do not answer.
    decision: what the autoscaler says; `scale` sets it. busy: requests under way by replica.
    worn: why it is worn, by replica. sleepers: host → what sleeps there. engines: replica → what its engine is, asleep. kept: those whose
    engines sleep once they have exited.
    deaf: the proxy acknowledges nothing while it is set. measured: variant → how its requests end whenever the gateway is asked; empty:
    it tells nothing. start_times: variant → how long its starts are known to take. born: ids of all replicas there ever were, in order.
    """

    def __init__(
        self,
        effective: EffectiveEndpoint | None = None,
        hosts: tuple[HostCapacity, ...] = (a_host(),),
        shape: Shape = CPU_SHAPE,
        quota: int = 100,
        others: int = 0,
    ) -> None:
        self.now = NOON
        self.hosts = hosts
        self.quota, self.others = quota, others
        self.quotas: dict[str, int] = {}
        self.effective = effective or effective_endpoint()
        self.booked = self.effective.min_replicas
        self.generation = 1
        self.deleting = self.buried = False
        self.shapes: dict[str, Shape] = {"cpu-small": shape}
        self.versions = {f"m:{name}": a_version(name) for name in self.effective.variants}
        self.status = EndpointStatus()
        self.rollout: RolloutState | None = None
        self.scaling: ScalingDecision | None = None
        self.decision: ScalingDecision | None = None
        self.records: list[Rollout] = []
        self.rows: dict[str, Replica] = {}
        self.reservations: dict[str, Reservation] = {}
        self.types: dict[str, str] = {}
        self.seen: dict[str, HostReplica] = {}
        self.published: Published | None = None
        self.broken: dict[str, FailureReason] = {}
        self.away: set[str] = set()
        self.deaf = False
        self.busy: dict[str, int] = {}
        self.worn: dict[str, str] = {}
        self._away_since: dict[str, datetime] = {}
        self.measured: dict[str, TrackWindow] = {}
        self.start_times: dict[str, StartTimes] = {}
        self.born: list[str] = []
        self.sleepers = {host.host: Sleepers() for host in hosts}
        self.engines: dict[str, SleepingEngine] = {}
        self.kept: set[str] = set()
        self._seeds = itertools.count()

    def put(self, effective: EffectiveEndpoint) -> None:
        """A new generation, as a PUT stores it."""
        self.generation += 1
        self.effective = effective
        self.booked = max(effective.min_replicas, self.held(effective.instance_type))
        for name in effective.variants:
            self.versions.setdefault(f"m:{name}", a_version(name))

    @property
    def desired(self) -> Desired:
        return Desired(
            uid="e1",
            project="acme",
            name="chat",
            generation=self.generation,
            created_at=NOON,
            effective=self.effective,
            versions=self.versions,
            shape=self.shapes.get(self.effective.instance_type),
            deleting=self.deleting,
        )

    def held(self, instance_type: str) -> int:
        """Reservations of the instance type."""
        return sum(1 for replica_id in self.reservations if self.types[replica_id] == instance_type)

    @property
    def observed(self) -> Observed:
        held = self.held(self.effective.instance_type)
        self._away_since = {host: self._away_since.get(host, self.now) for host in self.away}
        items = tuple(
            SeenReplica(
                replica=row,
                seen=self.seen.get(row.replica_id),
                reachable=row.members[0].host not in self.away,
                holds=row.replica_id in self.reservations,
                away_since=self._away_since.get(row.members[0].host),
                worn=self.worn.get(row.replica_id, ""),
                in_flight=self.busy.get(row.replica_id),
            )
            for row in self.rows.values()
        )
        hosts = tuple(msgspec.structs.replace(h, reachable=h.host not in self.away) for h in self.hosts)
        return Observed(
            status=self.status,
            booked=self.booked,
            held=held,
            seed=str(next(self._seeds)),
            rollout=self.rollout,
            scaling=self.scaling,
            decision=self.decision,
            replicas=items,
            published=self.published,
            windows=self._windows(),
            start_times=self._by_track(self.start_times),
            sleepers=tuple(
                SeenSleeper(host=host, engine=engine, reachable=host not in self.away)
                for host, sleepers in self.sleepers.items()
                for engine in sleepers.shown()
            ),
            capacity=Capacity(
                hosts=hosts,
                reservations=tuple(self.reservations.values()),
                quota_limit=self.quota,
                quota_used=self.others + max(self.booked, held),
                free_elsewhere={t: self.quotas.get(t, 100) - self.held(t) for t in self.shapes if t != self.effective.instance_type},
                asleep=tuple(
                    Asleep(host=host, endpoint_uid=engine.endpoint_uid, track_id=engine.track_id, devices=engine.devices)
                    for host, sleepers in self.sleepers.items()
                    for engine in sleepers.shown()
                ),
            ),
        )

    def _windows(self) -> Windows | None:
        """What the gateway tells of the tracks, when it is asked."""
        since = gate.watched_since(self.rollout, self.effective)
        if since is None or not self.measured:
            return None
        tracks = self._by_track(self.measured)
        return Windows(
            since=since, until=self.now, tracks=tuple(msgspec.structs.replace(window, track=t) for t, window in sorted(tracks.items()))
        )

    def _by_track(self, of_variants: dict[str, T]) -> dict[str, T]:
        tracks = {} if self.rollout is None else self.rollout.tracks
        return {t: of_variants[track.variant] for t, track in tracks.items() if track.variant in of_variants}

    def step(self) -> Plan:
        """Plan once and do all of it, then let hosts and proxies go one step further."""
        made = plan(self.desired, self.observed, self.now)
        self.status, self.rollout, self.scaling = made.status, made.rollout, made.scaling
        for record in made.records:
            self._keep(record)
        for action in made.actions:
            self._do(action)
        self._tick()
        return made

    def settle(self, rounds: int = 60) -> list[Plan]:
        """Step until nothing is done and nothing changes; AssertionError when that takes more rounds."""
        plans = []
        for _ in range(rounds):
            before = (self.status, self.rollout, dict(self.seen), self.published)
            plans.append(self.step())
            if self.buried or (not plans[-1].actions and before == (self.status, self.rollout, self.seen, self.published)):
                return plans
        raise AssertionError(f"still busy after {rounds} rounds: {plans[-1]}")

    def scale(self, replicas: int, reason: ScalingReason = ScalingReason.CONCURRENCY) -> None:
        """The autoscaler says now that there should be so many."""
        self.pass_time(2)
        self.decision = ScalingDecision(replicas=replicas, at=self.now, reason=reason, message=f"the load asks for {replicas}")

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def hang(self, replica_id: str, since: datetime | None = NOON) -> None:
        """The host of a replica says that it hangs since then; None: that it is back."""
        self.seen[replica_id] = msgspec.structs.replace(self.seen[replica_id], hung_since=since)

    def eject(self, replica_id: str, why: str = "") -> None:
        """The host of a replica says why it has ejected it for being slow; empty: that it is back."""
        self.seen[replica_id] = msgspec.structs.replace(self.seen[replica_id], slow=why)

    def crash(self, replica_id: str, reason: FailureReason = FailureReason.CRASHED) -> None:
        """The engine of a replica ends."""
        self.seen[replica_id] = msgspec.structs.replace(
            self.seen[replica_id], state=S.EXITED, failure=reason, message="it ended", log_tail=("last words",), exit_code=1
        )

    def die(self, replica_id: str) -> None:
        """The engine of a replica ends, and its host has not yet cleared away what is left of it."""
        self.seen[replica_id] = msgspec.structs.replace(self.seen[replica_id], failure=FailureReason.CRASHED, message="it died")

    def ready(self, variant: str | None = None) -> int:
        """Ready replicas, of one variant or of all."""
        return sum(1 for r in self.rows.values() if r.phase is ReplicaPhase.READY and (variant is None or _variant(r) == variant))

    def weights(self) -> dict[str, int]:
        """Variant → the weight that the gateways have been told."""
        if self.published is None or self.published.route is None:
            return {}
        found: Counter[str] = Counter()
        for track in self.published.route.tracks:
            found[track.track.rpartition(".")[0]] += track.weight
        return dict(+found)

    def _keep(self, record: Rollout) -> None:
        """Write a rollout down, in the place of what it was before. records: newest last."""
        known = [(r.generation, r.started_at) for r in self.records]
        if (record.generation, record.started_at) in known:
            self.records[known.index((record.generation, record.started_at))] = record
        else:
            self.records.append(record)

    def _do(self, action: Action) -> None:
        match action:
            case Reserve():
                self.born.append(action.replica.replica_id)
                self.rows[action.replica.replica_id] = action.replica
                self.reservations[action.replica.replica_id] = action.reservation
                self.types[action.replica.replica_id] = action.instance_type
            case Move():
                self.rows[action.replica.replica_id] = action.replica
            case Release():
                del self.reservations[action.replica_id]
            case Drop():
                del self.rows[action.replica_id]
                self.reservations.pop(action.replica_id, None)
            case Start():
                replica_id = action.command.replica_id
                self.seen[replica_id] = HostReplica(replica_id=replica_id, state=S.FETCHING, seq=1)
                if replica_id not in self.engines:
                    self.engines[replica_id] = self.sleepers[action.host].engine_of(action.command)
            case Stop():
                replica_id = action.command.replica_id
                known = self.seen.get(replica_id, HostReplica(replica_id=replica_id, state=S.EXITED, seq=1))
                if action.command.keep_warm and known.state is S.SERVING:
                    self.kept.add(replica_id)
                self.seen[replica_id] = known if known.state is S.EXITED else msgspec.structs.replace(known, state=S.STOPPING)
            case Evict():
                self.sleepers[action.host].end(action.command.engine_ids)
            case Forget():
                self.seen.pop(action.command.replica_id, None)
            case PublishRoute():
                self.published = Published(route=action.route, acked=False)
            case RemoveRoute():
                self.published = Published(route=None, acked=False)
            case Book():
                self.booked = action.replicas
            case Bury():
                self.buried = True

    def _tick(self) -> None:
        if self.published is not None and not self.deaf:
            self.published = None if self.published.route is None else msgspec.structs.replace(self.published, acked=True)
        for replica_id, seen in list(self.seen.items()):
            row = self.rows.get(replica_id)
            if row is not None and row.members[0].host in self.away:
                continue
            self._advance(seen, "" if row is None else _variant(row))

    def _advance(self, seen: HostReplica, variant: str) -> None:
        if seen.failure is not None:
            self.crash(seen.replica_id, seen.failure)
        elif seen.state is S.FETCHING:
            self.seen[seen.replica_id] = msgspec.structs.replace(seen, state=S.STARTING)
        elif seen.state is S.STARTING and variant in self.broken:
            self.crash(seen.replica_id, self.broken[variant])
        elif seen.state is S.STARTING:
            address = Unix(path=f"/run/{seen.replica_id}.sock")
            self.seen[seen.replica_id] = msgspec.structs.replace(seen, state=S.SERVING, address=address)
        elif seen.state is S.STOPPING:
            self.seen[seen.replica_id] = msgspec.structs.replace(seen, state=S.EXITED, exit_code=0)
            if seen.replica_id in self.kept:
                self.kept.discard(seen.replica_id)
                engine = self.engines[seen.replica_id]
                self.sleepers[self.rows[seen.replica_id].members[0].host].put(engine, len(self.born))


def a_version(name: str, verified: bool | None = True) -> VersionFacts:
    """A version `m:<name>`, which is verified unless said otherwise."""
    manifest = a_manifest(f"d-{name}") if verified else None
    return VersionFacts(uid=f"uid-{name}", ref=f"m:{name}", artifact=f"file:///m/{name}", manifest=manifest, verified=verified)


def _variant(replica: Replica) -> str:
    return replica.track.rpartition(".")[0]
