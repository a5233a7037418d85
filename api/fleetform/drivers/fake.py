"""Pretended machines: hosts with GPUs that obey, crash, hang or vanish as they are told. It ships, for demonstrations and tests.

No time passes in here: every `observe` lets each engine go one step further. What runs is kept in a journal under the home, so that
a restarted server finds it again. What goes wrong is read from `fake-script.json` beside it, whenever that file changes.
"""

import asyncio
import contextlib
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from fleetform.domain.load import GatewayLoad, HostLoad, Windows
from fleetform.domain.machine import HostCapacity, Shape
from fleetform.domain.protocol import (
    OLDEST_PROTOCOL_VERSION,
    PROTOCOL_VERSION,
    CommandRequest,
    CommandResult,
    EvictSleeping,
    ForgetReplica,
    HostReplica,
    HostReplicaState,
    HostReport,
    LogText,
    StartReplica,
    StopReplica,
    VerifyArtifact,
)
from fleetform.domain.replica import FailureReason, Member
from fleetform.drivers.base import Grant, Members, Refused
from fleetform.drivers.pretended import KEPT, Entry, Fault, Journal, Machine, Script, default_hosts, exited, next_step, verdict
from fleetform.drivers.sleepers import WOKEN
from fleetform.errors import HostUnreachable, NotLeader
from fleetform.gateway import snapshot as snapshots
from fleetform.gateway.snapshot import Applied, PublishResult, RoutingSnapshot, SnapshotUpdate, TrackRoute

S = HostReplicaState


class FakeDriver:
    """The driver protocol over pretended hosts; the first of them are gateways.

    gateways: how many. steps: whether observe lets engines go on by itself, else `tick` does. commands: the last of them.
    measured: host → its load. compared: endpoint key → its windows.
    """

    def __init__(
        self, home: Path | None = None, hosts: tuple[HostCapacity, ...] | None = None, *, steps: bool = True, gateways: int = 1
    ) -> None:
        found = default_hosts() if hosts is None else hosts
        self._script = Script()
        self.steps = steps
        self.commands: list[CommandRequest] = []
        self.measured: dict[str, HostLoad] = {}
        self.compared: dict[str, Windows] = {}
        self._home = home
        self._script_changed_at = 0.0
        self._hosts = {capacity.host: Machine(capacity, is_gateway=index < gateways) for index, capacity in enumerate(found)}
        self._journal = None if home is None else Journal(home / "fake.jsonl")
        if self._journal is not None:
            for entry in self._journal.entries():
                if entry.host in self._hosts:
                    self._hosts[entry.host].put(entry)

    @property
    def script(self) -> Script:
        """What goes wrong. Set, it holds at once: whoever waits for a host is answered by it."""
        return self._script

    @script.setter
    def script(self, script: Script) -> None:
        self._script = script
        for found in self._hosts.values():
            found.wake()

    async def hosts(self) -> tuple[str, ...]:
        return tuple(self._hosts)

    async def observe(self, host: str, since: int, wait_s: float) -> HostReport:
        self._read_script()
        found = self._reachable(host)
        if self.steps:
            self.tick(host)
        if since >= found.seq:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await found.changed()
        return self._reachable(host).report(since)

    async def reserve(self, replica_id: str, shape: Shape, preference: Member) -> Grant:
        found = self._hosts.get(preference.host)
        if found is None:
            return Refused(reason="UnknownHost", message=f"there is no host {preference.host}")
        unknown = set(preference.devices) - {device.uuid for device in found.capacity.devices}
        if unknown:
            return Refused(reason="UnknownDevice", message=f"{preference.host} has no device {', '.join(sorted(unknown))}")
        return Members(members=(preference,))

    async def release(self, replica_id: str) -> None:
        """Nothing to give back: reservations are held in the database alone."""

    async def command(self, host: str, request: CommandRequest) -> CommandResult:
        found = self._reachable(host)
        if not OLDEST_PROTOCOL_VERSION <= request.protocol_version <= PROTOCOL_VERSION:
            raise HostUnreachable(f"{host} does not speak protocol version {request.protocol_version}", host=host)
        if request.epoch < found.epoch:
            raise NotLeader(f"{host} has seen epoch {found.epoch}", epoch=request.epoch, seen=found.epoch)
        found.epoch = request.epoch
        known = found.results.get(request.command_id)
        if known is not None and not _is_lost(found, request):
            return msgspec.structs.replace(known, repeated=True)
        self.commands.append(request)
        del self.commands[:-KEPT]
        result = self._obey(found, request)
        found.results[request.command_id] = result
        found.shorten()
        return result

    async def publish(self, host: str, update: SnapshotUpdate) -> PublishResult:
        found = self._reachable(host)
        result = snapshots.judge(found.snapshot, update)
        if isinstance(result, Applied) and not result.repeated:
            found.snapshot = snapshots.apply(found.snapshot, update)
            if not self.script.deaf:
                found.acked_version = update.version
            found.touch()
        return result

    async def load(self, host: str) -> HostLoad:
        """What `measured` says; a gateway of which nothing was said has counted nothing since it began."""
        found = self._reachable(host)
        now = datetime.now(UTC)
        idle = HostLoad(host=host, gateway=GatewayLoad(at=now, since=found.since) if found.is_gateway else None)
        return self.measured.get(host, idle)

    async def windows(self, host: str, key: str, since: datetime) -> Windows:
        """What `compared` says of that endpoint, or else the script of the versions that its route leads to."""
        self._read_script()
        found = self._reachable(host)
        if key in self.compared:
            return self.compared[key]
        route = found.snapshot.routes.get(key)
        tracks = {} if route is None else {track.track: self._version(track) for track in route.tracks}
        told = tuple(self.script.figures[version].window(track) for track, version in tracks.items() if version in self.script.figures)
        return Windows(since=since, until=datetime.now(UTC), tracks=told)

    def _version(self, track: TrackRoute) -> str:
        """The model version that the targets of a track run; empty without a target."""
        entries = (found.entries.get(target.replica_id) for found in self._hosts.values() for target in track.targets)
        return next((entry.model_version for entry in entries if entry is not None), "")

    async def recent(self, host: str, window_s: float) -> dict[str, Windows]:
        """What `compared` says of all."""
        self._reachable(host)
        return dict(self.compared)

    async def replica(self, host: str, replica_id: str) -> HostReplica | None:
        entry = self._reachable(host).entries.get(replica_id)
        return None if entry is None else entry.replica

    async def log(self, host: str, replica_id: str, lines: int) -> LogText:
        entry = self._reachable(host).entries.get(replica_id)
        tail = () if entry is None or entry.replica is None else entry.replica.log_tail
        return LogText(replica_id=replica_id, lines=tail[-lines:])

    async def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def tick(self, host: str | None = None) -> None:
        """Let every engine, of one host or of all, go one step further."""
        for name, found in self._hosts.items():
            if host in (None, name) and name not in self.script.lost:
                for replica_id in tuple(found.busy):
                    entry = found.entries[replica_id]
                    self._put(found, next_step(entry, self.script))
                if not self.script.deaf and found.acked_version != found.snapshot.version:
                    found.acked_version = found.snapshot.version
                    found.touch()

    def end(self, replica_id: str, failure: FailureReason = FailureReason.CRASHED) -> None:
        """Let the engine of a replica end by itself."""
        for found in self._hosts.values():
            entry = found.entries.get(replica_id)
            if entry is not None:
                self._put(found, exited(entry, failure, "the engine ended"))

    def hold(self, key: str, requests: int) -> None:
        """Let the gateway hold so many requests for the endpoint `key`; 0: none any more."""
        for found in self._hosts.values():
            if found.is_gateway:
                found.waiting = {name: count for name, count in {**found.waiting, key: requests}.items() if count}
                found.touch()

    def running(self) -> dict[str, HostReplica]:
        """Replicas whose engine has not exited, by id."""
        entries = [entry for found in self._hosts.values() for entry in found.entries.values()]
        return {e.replica_id: e.replica for e in entries if e.replica is not None and e.replica.state is not S.EXITED}

    def snapshot(self) -> RoutingSnapshot:
        """What the gateway has."""
        return next(found.snapshot for found in self._hosts.values() if found.is_gateway)

    def replace_snapshot(self, snapshot: RoutingSnapshot) -> None:
        """Let the gateway stand elsewhere, as one whose disk was lost or restored."""
        for found in self._hosts.values():
            if found.is_gateway:
                found.snapshot, found.acked_version = snapshot, snapshot.version
                found.touch()

    def _reachable(self, host: str) -> Machine:
        if host in self.script.lost or host not in self._hosts:
            raise HostUnreachable(f"no answer from {host}", host=host)
        return self._hosts[host]

    def _obey(self, found: Machine, request: CommandRequest) -> CommandResult:
        command = request.command
        match command:
            case StartReplica():
                if self.script.engines.get(command.track.model_version) is Fault.REFUSE:
                    return CommandResult(command_id=request.command_id, accepted=False, message="refused by the script")
                if command.replica_id in found.never:
                    return CommandResult(command_id=request.command_id, accepted=False, message="it was stopped before")
                if command.replica_id not in found.entries:
                    replica = HostReplica(replica_id=command.replica_id, state=S.FETCHING, seq=0, members=command.members)
                    version = command.track.model_version
                    engine = found.sleepers.engine_of(command)
                    if engine.engine_id != command.replica_id:
                        replica = msgspec.structs.replace(replica, phases=(WOKEN,))
                    made = Entry(host=found.capacity.host, replica_id=command.replica_id, model_version=version, replica=replica)
                    self._put(found, msgspec.structs.replace(made, engine=engine))
            case StopReplica():
                entry = found.entries.get(command.replica_id)
                if entry is None:
                    found.never[command.replica_id] = None
                    return CommandResult(command_id=request.command_id, accepted=True, unknown=True)
                if entry.replica is not None and entry.replica.state is not S.EXITED:
                    keeps = command.keep_warm and entry.replica.state is S.SERVING
                    stopping = msgspec.structs.replace(entry.replica, state=S.STOPPING)
                    self._put(found, msgspec.structs.replace(entry, replica=stopping, keep_warm=keeps))
            case ForgetReplica():
                if command.replica_id in found.entries:
                    self._put(found, Entry(host=found.capacity.host, replica_id=command.replica_id))
            case EvictSleeping():
                if found.sleepers.end(command.engine_ids):
                    found.touch()
            case VerifyArtifact():
                found.artifacts[command.version_uid] = verdict(command, self.script, found.touch())
        return CommandResult(command_id=request.command_id, accepted=True)

    def _put(self, found: Machine, entry: Entry) -> None:
        known = found.entries.get(entry.replica_id)
        if entry == known:
            return
        found.put(entry)
        if self._journal is not None:
            self._journal.append(entry)

    def _read_script(self) -> None:
        if self._home is None:
            return
        path = self._home / "fake-script.json"
        try:
            changed_at = path.stat().st_mtime
            text = path.read_bytes() if changed_at != self._script_changed_at else b""
        except FileNotFoundError:  # removed, it heals what it had broken
            changed_at, text = 0.0, b"{}"
        if changed_at == self._script_changed_at:
            return
        self._script_changed_at = changed_at
        with contextlib.suppress(msgspec.DecodeError):  # half written: it is read again when it changes
            self.script = msgspec.json.decode(text, type=Script)


def _is_lost(found: Machine, request: CommandRequest) -> bool:
    """True when what the command did is not so any more."""
    match request.command:
        case StopReplica():
            return request.command.replica_id not in found.entries
        case EvictSleeping():
            return any(engine_id in found.sleepers.by_id for engine_id in request.command.engine_ids)
        case _:
            return False
