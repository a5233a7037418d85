"""A pretended host: what runs on it, how an engine goes on by itself, and the journal that remembers it."""

import asyncio
import contextlib
import hashlib
import itertools
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from fleetform.domain.base import Record
from fleetform.domain.load import Histogram, TrackWindow, cell_of
from fleetform.domain.machine import Device, HostCapacity
from fleetform.domain.model import Manifest, ManifestFile, ModelFormat, Task
from fleetform.domain.protocol import (
    PROTOCOL_VERSION,
    ArtifactReport,
    ArtifactState,
    CommandResult,
    GatewayReport,
    HostReplica,
    HostReplicaState,
    HostReport,
    SleepingEngine,
    VerifyArtifact,
)
from fleetform.domain.replica import FailureReason, Unix
from fleetform.drivers.sleepers import Sleepers
from fleetform.gateway.snapshot import RoutingSnapshot

S = HostReplicaState
BUSY = frozenset({S.FETCHING, S.STARTING, S.STOPPING})
KEPT = 10_000
"""So many commands, and replicas that are gone, a pretended host remembers. A host that is listed anew is told all that there is."""


class Fault(StrEnum):
    """What an engine does instead of serving."""

    CRASH = "crash"
    OOM = "oom"
    HANG = "hang"
    WRONG_MODEL = "wrong_model"
    REFUSE = "refuse"


class Figures(Record, frozen=True, kw_only=True):
    """How the requests of one model version end whenever the gateway is asked: so many, of which so many fail, all as slow."""

    requests: int = 0
    errors: int = 0
    aborts: int = 0
    ttft_ms: float = 100.0

    def window(self, track: str) -> TrackWindow:
        """The same as a gateway tells it."""
        times = Histogram(counts={cell_of(self.ttft_ms): self.requests} if self.requests else {})
        return TrackWindow(track=track, requests=self.requests, errors=self.errors, aborts=self.aborts, ttft=times, latency=times)


class Script(Record, frozen=True, kw_only=True):
    """What goes wrong. engines: model version → what its engines do. artifacts: location → why it is refused.

    lost: hosts that do not answer. deaf: gateways acknowledge nothing. slow: steps that a start takes longer.
    figures: model version → how its requests end.
    """

    engines: dict[str, Fault] = {}
    artifacts: dict[str, str] = {}
    lost: tuple[str, ...] = ()
    deaf: bool = False
    slow: int = 0
    figures: dict[str, Figures] = {}


class Entry(Record, frozen=True, kw_only=True):
    """One line of the journal: a replica as it is now on a host, or forgotten. model_version decides what may go wrong with it.

    engine: what its engine is, asleep. keep_warm: it falls asleep when it is stopped.
    """

    host: str
    replica_id: str
    model_version: str = ""
    replica: HostReplica | None = None
    waited: int = 0
    engine: SleepingEngine | None = None
    keep_warm: bool = False


def default_hosts() -> tuple[HostCapacity, ...]:
    """Two hosts with eight GPUs each, and so much processor and memory that a whole region fits on them."""
    return tuple(a_fake_host(f"fake-{number}", gpus=8) for number in (1, 2))


def a_fake_host(name: str, gpus: int = 0, kind: str = "a10") -> HostCapacity:
    devices = tuple(
        Device(uuid=f"GPU-{name}-{index:02}", kind=kind, memory_mib=24_576, memory_free_idle_mib=24_200, index=index)
        for index in range(gpus)
    )
    return HostCapacity(host=name, cpu_millis=100_000_000, memory_mib=1_000_000_000, devices=devices)


def next_step(entry: Entry, script: Script) -> Entry:
    """The replica after its engine has gone one step further."""
    replica = entry.replica
    if replica is None:
        return entry
    if replica.state is S.FETCHING:
        return msgspec.structs.replace(entry, replica=msgspec.structs.replace(replica, state=S.STARTING))
    if replica.state is S.STOPPING:
        return msgspec.structs.replace(entry, replica=msgspec.structs.replace(replica, state=S.EXITED, exit_code=0))
    if entry.waited < script.slow:
        return msgspec.structs.replace(entry, waited=entry.waited + 1)
    match script.engines.get(entry.model_version):
        case Fault.HANG:
            return entry
        case Fault.CRASH:
            return exited(entry, FailureReason.CRASHED, "the engine ended during its start")
        case Fault.OOM:
            return exited(entry, FailureReason.OOM_KILLED, "the engine took more memory than there is")
        case Fault.WRONG_MODEL:
            return exited(entry, FailureReason.WRONG_MODEL, "another model answers on the socket")
    address = Unix(path=f"/fake/{entry.host}/{entry.replica_id}.sock")
    return msgspec.structs.replace(entry, replica=msgspec.structs.replace(replica, state=S.SERVING, address=address))


def exited(entry: Entry, failure: FailureReason, message: str) -> Entry:
    """The replica with its engine ended, and its last words."""
    if entry.replica is None:
        return entry
    tail = ("loading weights", f"RuntimeError: {message}")
    ended = msgspec.structs.replace(entry.replica, state=S.EXITED, failure=failure, message=message, log_tail=tail, exit_code=1)
    return msgspec.structs.replace(entry, replica=ended)


def verdict(command: VerifyArtifact, script: Script, seq: int) -> ArtifactReport:
    """The verdict on an artifact that nobody reads: the script's refusal, else a manifest made of its location."""
    refusal = script.artifacts.get(command.artifact)
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


class Machine:
    """One pretended host. entries: by replica id, the least recently changed first. busy: ids that change by themselves.

    never: ids that were stopped before their start came.
    """

    def __init__(self, capacity: HostCapacity, *, is_gateway: bool) -> None:
        self.capacity = capacity
        self.is_gateway = is_gateway
        self.seq = 1
        self.since = datetime.now(UTC)
        self.epoch = 0
        self.entries: dict[str, Entry] = {}
        self.forgotten: dict[str, int] = {}
        self.never: dict[str, None] = {}
        self.sleepers = Sleepers()
        self.busy: set[str] = set()
        self.artifacts: dict[str, ArtifactReport] = {}
        self.results: dict[str, CommandResult] = {}
        self.snapshot = RoutingSnapshot()
        self.acked_version = 0
        self.waiting: dict[str, int] = {}
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
        falls_asleep = entry.keep_warm and replica.state is S.EXITED and replica.failure is None
        if falls_asleep and entry.engine is not None:
            self.sleepers.put(entry.engine, seq)
        self.entries[entry.replica_id] = msgspec.structs.replace(entry, replica=replica, keep_warm=entry.keep_warm and not falls_asleep)
        if replica.state in BUSY:
            self.busy.add(entry.replica_id)

    def shorten(self) -> None:
        """Keep no more than KEPT of what only tells of the past, the newest."""
        pasts: tuple[dict[str, Any], ...] = (self.forgotten, self.never, self.results)
        for past in pasts:
            for oldest in list(itertools.islice(past, max(0, len(past) - KEPT))):
                del past[oldest]

    def report(self, since: int) -> HostReport:
        newer = itertools.takewhile(lambda e: e.replica is not None and e.replica.seq > since, reversed(self.entries.values()))
        gateway = GatewayReport(
            epoch=self.snapshot.epoch,
            version=self.snapshot.version,
            acked_version=self.acked_version,
            proxy_alive=True,
            waiting=dict(self.waiting),
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
            sleeping=self.sleepers.shown(),
        )


class Journal:
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
        # Beside its place first: whoever is killed meanwhile finds all of it again.
        shortened = path.with_name(f"{path.name}.new")
        shortened.write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in self._living))
        shortened.replace(path)
        self._file = path.open("ab", buffering=0)

    def entries(self) -> list[Entry]:
        """What ran when the journal was opened."""
        return self._living

    def append(self, entry: Entry) -> None:
        self._file.write(msgspec.json.encode(entry) + b"\n")

    def close(self) -> None:
        self._file.close()
