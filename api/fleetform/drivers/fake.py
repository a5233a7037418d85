"""Pretended machines: hosts with GPUs that obey, crash, hang or vanish as they are told. It ships, for demonstrations and tests.

No time passes in here: every `observe` lets each engine go one step further. What runs is kept in a journal under the home, so that
a restarted server finds it again. What goes wrong is read from `fake-script.json` beside it, whenever that file changes.
"""

import asyncio
import contextlib
import hashlib
import itertools
from enum import StrEnum
from pathlib import Path

import msgspec

from fleetform.domain.base import Record
from fleetform.domain.machine import Device, HostCapacity, Shape
from fleetform.domain.model import Manifest, ManifestFile, ModelFormat, Task
from fleetform.domain.protocol import (
    PROTOCOL_VERSION,
    ArtifactReport,
    ArtifactState,
    CommandRequest,
    CommandResult,
    ForgetReplica,
    GatewayReport,
    HostReplica,
    HostReplicaState,
    HostReport,
    LogText,
    StartReplica,
    StopReplica,
    VerifyArtifact,
)
from fleetform.domain.replica import FailureReason, Member, Unix
from fleetform.drivers.base import Grant, Members, Refused
from fleetform.errors import HostUnreachable, NotLeader
from fleetform.gateway import snapshot as snapshots
from fleetform.gateway.snapshot import Applied, PublishResult, RoutingSnapshot, SnapshotUpdate

S = HostReplicaState
BUSY = frozenset({S.FETCHING, S.STARTING, S.STOPPING})


class Fault(StrEnum):
    """What an engine does instead of serving."""

    CRASH = "crash"
    OOM = "oom"
    HANG = "hang"
    WRONG_MODEL = "wrong_model"
    REFUSE = "refuse"


class Script(Record, frozen=True, kw_only=True):
    """What goes wrong. engines: model version → what its engines do. artifacts: location → why it is refused.

    lost: hosts that do not answer. deaf: gateways acknowledge nothing. slow: steps that a start takes longer.
    """

    engines: dict[str, Fault] = {}
    artifacts: dict[str, str] = {}
    lost: tuple[str, ...] = ()
    deaf: bool = False
    slow: int = 0


class Entry(Record, frozen=True, kw_only=True):
    """One line of the journal: a replica as it is now on a host, or forgotten. model_version decides what may go wrong with it."""

    host: str
    replica_id: str
    model_version: str = ""
    replica: HostReplica | None = None
    waited: int = 0


def default_hosts() -> tuple[HostCapacity, ...]:
    """Two hosts with eight GPUs each, and so much processor and memory that a whole region fits on them."""
    return tuple(a_fake_host(f"fake-{number}", gpus=8) for number in (1, 2))


def a_fake_host(name: str, gpus: int = 0, kind: str = "a10") -> HostCapacity:
    devices = tuple(
        Device(uuid=f"GPU-{name}-{index:02}", kind=kind, memory_mib=24_576, memory_free_idle_mib=24_200, index=index)
        for index in range(gpus)
    )
    return HostCapacity(host=name, cpu_millis=100_000_000, memory_mib=1_000_000_000, devices=devices)


class FakeDriver:
    """The driver protocol over pretended hosts; the first of them is the gateway.

    steps: whether observe lets engines go on by itself, else `tick` does.
    """

    def __init__(self, home: Path | None = None, hosts: tuple[HostCapacity, ...] | None = None, *, steps: bool = True) -> None:
        found = default_hosts() if hosts is None else hosts
        self._script = Script()
        self.steps = steps
        self.commands: list[CommandRequest] = []
        self._home = home
        self._script_changed_at = 0.0
        self._hosts = {capacity.host: _Host(capacity, is_gateway=index == 0) for index, capacity in enumerate(found)}
        self._journal = None if home is None else _Journal(home / "fake.jsonl")
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
        if request.epoch < found.epoch:
            raise NotLeader(f"{host} has seen epoch {found.epoch}", epoch=request.epoch, seen=found.epoch)
        found.epoch = request.epoch
        known = found.results.get(request.command_id)
        if known is not None:
            return msgspec.structs.replace(known, repeated=True)
        self.commands.append(request)
        result = self._obey(found, request)
        found.results[request.command_id] = result
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
                    self._put(found, self._next(entry))
                if not self.script.deaf and found.acked_version != found.snapshot.version:
                    found.acked_version = found.snapshot.version
                    found.touch()

    def end(self, replica_id: str, failure: FailureReason = FailureReason.CRASHED) -> None:
        """Let the engine of a replica end by itself."""
        for found in self._hosts.values():
            entry = found.entries.get(replica_id)
            if entry is not None:
                self._put(found, _exited(entry, failure, "the engine ended"))

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

    def _reachable(self, host: str) -> "_Host":
        if host in self.script.lost or host not in self._hosts:
            raise HostUnreachable(f"no answer from {host}", host=host)
        return self._hosts[host]

    def _obey(self, found: "_Host", request: CommandRequest) -> CommandResult:
        command = request.command
        match command:
            case StartReplica():
                if self.script.engines.get(command.track.model_version) is Fault.REFUSE:
                    return CommandResult(command_id=request.command_id, accepted=False, message="refused by the script")
                if command.replica_id not in found.entries:
                    replica = HostReplica(replica_id=command.replica_id, state=S.FETCHING, seq=0, members=command.members)
                    version = command.track.model_version
                    host = found.capacity.host
                    self._put(found, Entry(host=host, replica_id=command.replica_id, model_version=version, replica=replica))
            case StopReplica():
                entry = found.entries.get(command.replica_id)
                if entry is not None and entry.replica is not None and entry.replica.state is not S.EXITED:
                    stopping = msgspec.structs.replace(entry.replica, state=S.STOPPING)
                    self._put(found, msgspec.structs.replace(entry, replica=stopping))
            case ForgetReplica():
                if command.replica_id in found.entries:
                    self._put(found, Entry(host=found.capacity.host, replica_id=command.replica_id))
            case VerifyArtifact():
                found.artifacts[command.version_uid] = self._verified(found, command)
        return CommandResult(command_id=request.command_id, accepted=True)

    def _verified(self, found: "_Host", command: VerifyArtifact) -> ArtifactReport:
        """The verdict on an artifact that nobody reads: the script's refusal, else a manifest made of its location."""
        refusal = self.script.artifacts.get(command.artifact)
        seq = found.touch()
        if refusal is not None:
            message = f"{command.artifact} was refused by the script"
            return ArtifactReport(version_uid=command.version_uid, state=ArtifactState.REFUSED, seq=seq, reason=refusal, message=message)
        digest = hashlib.sha256(command.artifact.encode()).hexdigest()
        if command.expected_digest not in ("", digest):
            message = f"the manifest's digest is {digest}, not {command.expected_digest}"
            return ArtifactReport(
                version_uid=command.version_uid, state=ArtifactState.REFUSED, seq=seq, reason="DigestMismatch", message=message
            )
        manifest = Manifest(
            digest=digest,
            files=(ManifestFile(path="model.safetensors", size=1024, sha256=digest),),
            format=ModelFormat(command.format or ModelFormat.SAFETENSORS),
            task=Task(command.task or Task.GENERATE),
        )
        return ArtifactReport(version_uid=command.version_uid, state=ArtifactState.VERIFIED, seq=seq, manifest=manifest)

    def _next(self, entry: Entry) -> Entry:
        replica = entry.replica
        if replica is None:
            return entry
        if replica.state is S.FETCHING:
            return msgspec.structs.replace(entry, replica=msgspec.structs.replace(replica, state=S.STARTING))
        if replica.state is S.STOPPING:
            return msgspec.structs.replace(entry, replica=msgspec.structs.replace(replica, state=S.EXITED, exit_code=0))
        if entry.waited < self.script.slow:
            return msgspec.structs.replace(entry, waited=entry.waited + 1)
        match self.script.engines.get(entry.model_version):
            case Fault.HANG:
                return entry
            case Fault.CRASH:
                return _exited(entry, FailureReason.CRASHED, "the engine ended during its start")
            case Fault.OOM:
                return _exited(entry, FailureReason.OOM_KILLED, "the engine took more memory than there is")
            case Fault.WRONG_MODEL:
                return _exited(entry, FailureReason.WRONG_MODEL, "another model answers on the socket")
        address = Unix(path=f"/fake/{entry.host}/{entry.replica_id}.sock")
        return msgspec.structs.replace(entry, replica=msgspec.structs.replace(replica, state=S.SERVING, address=address))

    def _put(self, found: "_Host", entry: Entry) -> None:
        known = found.entries.get(entry.replica_id)
        if entry == known:
            return
        found.put(entry)
        if self._journal is not None:
            self._journal.append(entry)

    def _read_script(self) -> None:
        path = None if self._home is None else self._home / "fake-script.json"
        if path is None or not path.exists() or path.stat().st_mtime == self._script_changed_at:
            return
        self._script_changed_at = path.stat().st_mtime
        with contextlib.suppress(msgspec.DecodeError):  # half written: it is read again when it changes
            self.script = msgspec.json.decode(path.read_bytes(), type=Script)


def _exited(entry: Entry, failure: FailureReason, message: str) -> Entry:
    if entry.replica is None:
        return entry
    tail = ("loading weights", f"RuntimeError: {message}")
    ended = msgspec.structs.replace(entry.replica, state=S.EXITED, failure=failure, message=message, log_tail=tail, exit_code=1)
    return msgspec.structs.replace(entry, replica=ended)


class _Host:
    """One pretended host. entries: by replica id, the least recently changed first. busy: ids that change by themselves."""

    def __init__(self, capacity: HostCapacity, *, is_gateway: bool) -> None:
        self.capacity = capacity
        self.is_gateway = is_gateway
        self.seq = 1
        self.epoch = 0
        self.entries: dict[str, Entry] = {}
        self.forgotten: dict[str, int] = {}
        self.busy: set[str] = set()
        self.artifacts: dict[str, ArtifactReport] = {}
        self.results: dict[str, CommandResult] = {}
        self.snapshot = RoutingSnapshot()
        self.acked_version = 0
        self._wake = asyncio.Event()

    def touch(self) -> int:
        """The next seq; whoever waits for a change is woken."""
        self.seq += 1
        self.wake()
        return self.seq

    def wake(self) -> None:
        """Answer whoever waits for a change."""
        self._wake.set()
        self._wake = asyncio.Event()

    async def changed(self) -> None:
        await self._wake.wait()

    def put(self, entry: Entry) -> None:
        seq = self.touch()
        self.entries.pop(entry.replica_id, None)
        self.busy.discard(entry.replica_id)
        if entry.replica is None:
            self.forgotten[entry.replica_id] = seq
            return
        replica = msgspec.structs.replace(entry.replica, seq=seq)
        self.entries[entry.replica_id] = msgspec.structs.replace(entry, replica=replica)
        if replica.state in BUSY:
            self.busy.add(entry.replica_id)

    def report(self, since: int) -> HostReport:
        newer = itertools.takewhile(lambda e: e.replica is not None and e.replica.seq > since, reversed(self.entries.values()))
        gateway = GatewayReport(
            epoch=self.snapshot.epoch, version=self.snapshot.version, acked_version=self.acked_version, proxy_alive=True
        )
        return HostReport(
            protocol_version=PROTOCOL_VERSION,
            host=self.capacity.host,
            boot_id="fake",
            instance="fake",
            seq=self.seq,
            full=since == 0,
            epoch=self.epoch,
            capacity=self.capacity,
            replicas=tuple(entry.replica for entry in newer if entry.replica is not None),
            removed=tuple(replica_id for replica_id, seq in self.forgotten.items() if seq > since) if since else (),
            artifacts=tuple(report for report in self.artifacts.values() if report.seq > since),
            gateway=gateway if self.is_gateway else None,
        )


class _Journal:
    """One line per change; read and shortened when it is opened."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        living: dict[tuple[str, str], Entry] = {}
        for line in path.read_bytes().splitlines() if path.exists() else ():
            with contextlib.suppress(msgspec.DecodeError):  # the last line of a killed process
                entry = msgspec.json.decode(line, type=Entry)
                living[entry.host, entry.replica_id] = entry
        self._living = [entry for entry in living.values() if entry.replica is not None]
        path.write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in self._living))
        self._file = path.open("ab", buffering=0)

    def entries(self) -> list[Entry]:
        """What ran when the journal was opened."""
        return self._living

    def append(self, entry: Entry) -> None:
        self._file.write(msgspec.json.encode(entry) + b"\n")

    def close(self) -> None:
        self._file.close()
