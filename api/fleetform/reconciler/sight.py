"""What hosts have reported, put together from their deltas. Kept in memory: a restarted server asks for everything anew."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from fleetform.domain.machine import Asleep, HostCapacity
from fleetform.domain.protocol import ArtifactReport, GatewayReport, HostReplica, HostReplicaState, HostReport, SleepingEngine
from fleetform.planner.model import SeenSleeper


class HostSight:
    """One host as last seen. reachable False: it has not answered for a while; what it runs is unknown, not gone.

    silent_since: when it was found not to answer any more. noted: replicas of which its answers to commands told something since it was
    last asked for a report.
    """

    def __init__(self) -> None:
        self.reachable = False
        self.silent_since: datetime | None = None
        self.seq = 0
        self.instance = ""
        self.boot_id = ""
        self.capacity: HostCapacity | None = None
        self.replicas: dict[str, HostReplica] = {}
        self.artifacts: dict[str, ArtifactReport] = {}
        self.gateway: GatewayReport | None = None
        self.noted: set[str] = set()
        self.sleeping: tuple[SleepingEngine, ...] = ()


class Sight:
    """All hosts. changed_replica, changed_version: called with each id of which a host says something new.

    changed_sleep: called with the uid of each endpoint of which other engines sleep now.
    """

    def __init__(
        self, changed_replica: Callable[[str], None], changed_version: Callable[[str], None], changed_sleep: Callable[[str], None]
    ) -> None:
        self.hosts: dict[str, HostSight] = {}
        self._changed_replica = changed_replica
        self._changed_version = changed_version
        self._changed_sleep = changed_sleep
        self._everybody_asked = asyncio.Event()
        self._unasked: set[str] = set()

    def expect(self, names: tuple[str, ...]) -> None:
        """These hosts are being asked; `asked` is complete once each has answered or failed to."""
        for name in names:
            if name not in self.hosts:
                self.hosts[name] = HostSight()
                self._unasked.add(name)
        self._settle()

    async def asked(self) -> None:
        """Return once every host has answered for the first time, or failed to for so long that it counts as unreachable."""
        await self._everybody_asked.wait()

    def ask(self, name: str) -> None:
        """The host is asked anew: what was noted before, its answer knows."""
        self.hosts.setdefault(name, HostSight()).noted.clear()

    def merge(self, name: str, report: HostReport) -> bool:
        """Take a report in. True when the host was not reachable before."""
        host = self.hosts.setdefault(name, HostSight())
        back = not host.reachable
        host.silent_since = None
        host.reachable, host.seq, host.instance, host.boot_id = True, report.seq, report.instance, report.boot_id
        host.capacity, host.gateway = report.capacity, report.gateway
        replicas = {replica.replica_id: replica for replica in report.replicas}
        artifacts = {artifact.version_uid: artifact for artifact in report.artifacts}
        # What was noted while the host was answering may be missing from its answer.
        gone = host.replicas.keys() - replicas.keys() - host.noted if report.full else set(report.removed)
        changed = {i for i, replica in replicas.items() if not _same(replica, host.replicas.get(i))} | (gone & host.replicas.keys())
        host.replicas = {i: replica for i, replica in {**host.replicas, **replicas}.items() if i not in gone}
        host.artifacts = artifacts if report.full else {**host.artifacts, **artifacts}
        for replica_id in host.replicas if back else changed:
            self._changed_replica(replica_id)
        for version_uid in artifacts:
            self._changed_version(version_uid)
        before, host.sleeping = set(host.sleeping), report.sleeping
        now = set(report.sleeping)
        for uid in sorted({engine.endpoint_uid for engine in (now if back else now ^ before)}):
            self._changed_sleep(uid)
        self._answered(name)
        return back

    def lose(self, name: str, now: datetime) -> bool:
        """The host does not answer any more. True when it did before."""
        host = self.hosts.setdefault(name, HostSight())
        # Never later than now: a clock that is set back makes no silence longer.
        host.silent_since = min(host.silent_since or now, now)
        was = host.reachable
        host.reachable = False
        for replica_id in host.replicas if was else ():
            self._changed_replica(replica_id)
        self._answered(name)
        return was

    def note(self, name: str, replica: HostReplica) -> None:
        """Something about a replica that follows from the host's answer to a command; its next report says the rest."""
        host = self.hosts.get(name)
        if host is not None and (replica.state is HostReplicaState.EXITED or replica.replica_id not in host.replicas):
            host.replicas[replica.replica_id] = replica
            host.noted.add(replica.replica_id)

    def forget(self, name: str, replica_id: str) -> None:
        """The host has dropped the replica's record."""
        host = self.hosts.get(name)
        if host is not None:
            host.replicas.pop(replica_id, None)

    def is_reachable(self, name: str) -> bool:
        host = self.hosts.get(name)
        return host is not None and host.reachable

    def away_since(self, name: str) -> datetime | None:
        """Since when the host does not answer; None when it does, or was never asked."""
        host = self.hosts.get(name)
        return None if host is None else host.silent_since

    def silent_for(self, seconds: float, now: datetime) -> frozenset[str]:
        """Hosts that have not answered for so long."""
        silent = {name: host.silent_since for name, host in self.hosts.items() if host.silent_since is not None}
        return frozenset(name for name, since in silent.items() if now - since >= timedelta(seconds=seconds))

    def replica(self, name: str, replica_id: str) -> HostReplica | None:
        """What the host says of a replica; None when it does not know it."""
        host = self.hosts.get(name)
        return None if host is None else host.replicas.get(replica_id)

    def sleepers_of(self, uid: str) -> tuple[SeenSleeper, ...]:
        """The engines of one endpoint that sleep, as their hosts said last."""
        return tuple(
            SeenSleeper(host=name, engine=engine, reachable=host.reachable)
            for name, host in sorted(self.hosts.items())
            for engine in host.sleeping
            if engine.endpoint_uid == uid
        )

    def asleep(self) -> tuple[Asleep, ...]:
        """All engines that sleep, as far as a new replica's place depends on them."""
        return tuple(
            Asleep(host=name, endpoint_uid=engine.endpoint_uid, track_id=engine.track_id, devices=engine.devices)
            for name, host in sorted(self.hosts.items())
            for engine in host.sleeping
        )

    def artifact(self, version_uid: str) -> ArtifactReport | None:
        """What some reachable host says of a model version's artifact."""
        for name in sorted(self.hosts):
            report = self.hosts[name].artifacts.get(version_uid)
            if report is not None and self.hosts[name].reachable:
                return report
        return None

    def instances(self) -> dict[str, str]:
        """Reachable hosts, and which run of their worker answers."""
        return {name: host.instance for name, host in sorted(self.hosts.items()) if host.reachable}

    def gateways(self) -> dict[str, GatewayReport]:
        """Hosts with a proxy, reachable or not, and what it acknowledged last."""
        return {name: host.gateway for name, host in sorted(self.hosts.items()) if host.gateway is not None}

    def _answered(self, name: str) -> None:
        self._unasked.discard(name)
        self._settle()

    def _settle(self) -> None:
        if self.hosts and not self._unasked:
            self._everybody_asked.set()


def _same(a: HostReplica, b: HostReplica | None) -> bool:
    """True when nothing differs that a plan could act on: seq, phases and in-flight move all the time."""
    if b is None:
        return False
    strip = {"seq": 0, "phases": (), "in_flight": None}
    return msgspec.structs.replace(a, **strip) == msgspec.structs.replace(b, **strip)
