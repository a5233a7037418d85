"""Hosts, engines and the gateway as the fake driver has them, with calls that end as a seed says, and what must never happen there."""

from collections.abc import Callable

from fleetform.domain.machine import HostCapacity, Shape
from fleetform.domain.protocol import CommandRequest, CommandResult, HostReplicaState, SleepingEngine, StopReplica
from fleetform.domain.replica import Member
from fleetform.drivers.base import Grant
from fleetform.drivers.fake import FakeDriver
from fleetform.drivers.pretended import Machine
from fleetform.errors import HostUnreachable, NotLeader
from fleetform.gateway.snapshot import Applied, EndpointRoute, PublishResult, RoutingSnapshot, SnapshotUpdate
from tests.simulation.points import Fate, Points

S = HostReplicaState


class Broken(AssertionError):
    """Something happened that must never happen."""


class Machines(FakeDriver):
    """in_force: the snapshot that the proxy routes by; it differs from the stored one while the gateway is deaf.

    restored: the gateway has gone back to an old disk, and no server has brought it up to date: what it routes is nobody's fault.
    late: commands that were given up, and still arrive. is_wanted: whether an endpoint, by its key, is to serve.
    """

    def __init__(self, points: Points, hosts: tuple[HostCapacity, ...], is_wanted: Callable[[str], bool]) -> None:
        super().__init__(hosts=hosts, steps=False)
        self._points = points
        self._is_wanted = is_wanted
        self.in_force = RoutingSnapshot()
        self.restored = False
        self.late: list[tuple[str, CommandRequest]] = []

    async def reserve(self, replica_id: str, shape: Shape, preference: Member) -> Grant:
        await self._points.reach(f"reserve {replica_id}")
        return await super().reserve(replica_id, shape, preference)

    async def release(self, replica_id: str) -> None:
        await self._points.reach(f"release {replica_id}")

    async def command(self, host: str, request: CommandRequest) -> CommandResult:
        fate = await self._points.reach(f"{request.command_id} to {host}", Fate.LOST, Fate.UNANSWERED, Fate.LATE, Fate.TWICE)
        if fate is Fate.LATE:
            self.late.append((host, request))
        if fate in (Fate.LOST, Fate.LATE):
            raise HostUnreachable(f"no answer from {host}", host=host)
        result = await self.obey(host, request)
        self._points.tell(f"  {request.command_id} on {host}: {result.message or 'done'}")
        if fate is Fate.TWICE:
            result = await self.obey(host, request)
        if fate is Fate.UNANSWERED:
            raise HostUnreachable(f"no answer from {host}", host=host)
        await self._points.reach(f"answer to {request.command_id}")
        return result

    async def obey(self, host: str, request: CommandRequest) -> CommandResult:
        """The command arrives."""
        command = request.command
        machine = self.machine(host)
        is_new = request.command_id not in machine.results and request.epoch >= machine.epoch
        if is_new and isinstance(command, StopReplica) and not self.restored:
            entry = machine.entries.get(command.replica_id)
            serves = entry is not None and entry.replica is not None and entry.replica.state is S.SERVING
            if serves and command.replica_id in open_targets(self.in_force):
                raise Broken(f"{command.replica_id} is stopped while the proxy still routes to it")
        return await super().command(host, request)

    async def arrive_late(self, host: str, request: CommandRequest) -> None:
        """A command that its sender has given up. NotLeader reaches nobody."""
        try:
            await self.obey(host, request)
        except (NotLeader, HostUnreachable):
            return

    async def publish(self, host: str, update: SnapshotUpdate) -> PublishResult:
        fate = await self._points.reach(f"publish {update.version & 0xFFFFFFFF} of {update.epoch}", Fate.LOST, Fate.UNANSWERED)
        if fate is Fate.LOST:
            raise HostUnreachable(f"no answer from {host}", host=host)
        before = self.snapshot()
        result = await super().publish(host, update)
        for route in update.upsert:
            self._points.tell(f"  route {_in_words(route)}: {type(result).__name__}")
        self._compare(before, self.snapshot())
        self.settle_gateway()
        if isinstance(result, Applied) and not self.script.deaf:
            self.restored = False
        if fate is Fate.UNANSWERED:
            raise HostUnreachable(f"no answer from {host}", host=host)
        await self._points.reach(f"answer to publish {update.version & 0xFFFFFFFF}")
        return result

    def settle_gateway(self) -> None:
        """The proxy has taken what is stored, unless it is deaf."""
        for machine in self._hosts.values():
            if machine.is_gateway and machine.acked_version == machine.snapshot.version:
                self.in_force = machine.snapshot

    def machine(self, host: str) -> Machine:
        """The host, when it answers."""
        return self._reachable(host)

    def everywhere(self) -> tuple[Machine, ...]:
        """Every host, whether it answers or not."""
        return tuple(self._hosts.values())

    def serving(self) -> frozenset[str]:
        """Replicas whose engine answers, wherever they are."""
        return frozenset(replica_id for replica_id, replica in self.running().items() if replica.state is S.SERVING)

    def check(self) -> None:
        """Never two of one replica, never two of one device, never two of one engine, which either sleeps or has a replica."""
        seen: dict[str, str] = {}
        for machine in self._hosts.values():
            for entry in machine.entries.values():
                if entry.replica is None or entry.replica.state is S.EXITED:
                    continue
                asleep = entry.engine is not None and entry.engine.engine_id in machine.sleepers.by_id
                if asleep:
                    raise Broken(f"{entry.replica_id} runs on an engine that sleeps: {entry.engine}")
                engine = entry.replica_id if entry.engine is None else f"engine {entry.engine.engine_id}"
                for what in (entry.replica_id, engine, *(device for member in entry.replica.members for device in member.devices)):
                    if seen.setdefault(what, entry.replica_id + machine.capacity.host) != entry.replica_id + machine.capacity.host:
                        raise Broken(f"{what} is in use twice: {seen[what]} and {entry.replica_id} on {machine.capacity.host}")

    def asleep(self) -> dict[str, SleepingEngine]:
        """Engines that sleep, wherever they are, by id."""
        return {engine_id: engine for machine in self._hosts.values() for engine_id, engine in machine.sleepers.by_id.items()}

    def lose_sleeper(self, engine_id: str) -> None:
        """The host ends it by itself: for its memory, or its time."""
        for machine in self._hosts.values():
            if machine.sleepers.end([engine_id]):
                machine.touch()

    def _compare(self, before: RoutingSnapshot, after: RoutingSnapshot) -> None:
        """A new snapshot takes no endpoint's last serving replica away, and gives no growing share to what cannot serve."""
        serving = self.serving()
        for key, route in before.routes.items():
            new = after.routes.get(key)
            if new is route or self.restored or not self._is_wanted(key):
                continue
            if weighted(route) & serving and not (new is not None and weighted(new) & serving):
                raise Broken(f"{key} loses its last serving replica: {weighted(route) & serving} by {new}")
            if new is not None and opened(route) & serving and opened(new):
                self._compare_weights(route, new)

    def _compare_weights(self, before: EndpointRoute, after: EndpointRoute) -> None:
        had = {track.track: track.weight for track in before.tracks}
        for track in after.tracks:
            grows = track.weight > had.get(track.track, 0)
            if grows and not any(not target.draining for target in track.targets):
                raise Broken(f"{after.key}: {track.track} gets {track.weight} % and has nothing that could serve")


def weighted(route: EndpointRoute) -> frozenset[str]:
    """Replicas that get new requests by the route."""
    return frozenset(t.replica_id for track in route.tracks for t in track.targets if track.weight and not t.draining)


def opened(route: EndpointRoute) -> frozenset[str]:
    """Replicas that the proxies may bring requests to, be their track's weight 0: the next change of weights is enough."""
    return frozenset(target.replica_id for track in route.tracks for target in track.targets if not target.draining)


def _in_words(route: EndpointRoute) -> str:
    """`acme/chat g2: v1.0 50 % r1, r2 draining; v2.0 50 %`."""
    tracks = []
    for track in route.tracks:
        targets = ", ".join(f"{target.replica_id}{' draining' if target.draining else ''}" for target in track.targets)
        tracks.append(f"{track.track} {track.weight} % {targets}")
    return f"{route.key} g{route.generation}: {'; '.join(tracks)}"


def open_targets(snapshot: RoutingSnapshot) -> frozenset[str]:
    return frozenset(replica_id for route in snapshot.routes.values() for replica_id in opened(route))
