"""The messages between server and host process: HTTP on a Unix socket, msgspec JSON, version N and N-1.

POST /v1/commands   CommandRequest → CommandResult   409 HostRefusal when epoch or version is too low
GET  /v1/observe?since=N&wait_s=S                    → HostReport, at once when something is newer than N, else after S seconds
GET  /v1/load                                        → HostLoad, what is measured now
GET  /v1/gateway/windows?key=K&since=T               → Windows of one endpoint since T (RFC 3339)
GET  /v1/gateway/recent?window_s=S                   → endpoint key → Windows of the last S seconds, of those that had requests
GET  /v1/replicas/{id}                               → HostReplica, with its phases and in-flight; 404 when it is not known
GET  /v1/replicas/{id}/log?lines=N                   → LogText
GET  /healthz                                        → HostHealth

Every command carries the leader's epoch and an id: a lower epoch is refused, a repeated id answers what it did.
"""

from datetime import datetime
from enum import StrEnum

from fleetform.domain.base import Record
from fleetform.domain.machine import HostCapacity
from fleetform.domain.model import Manifest
from fleetform.domain.replica import Address, FailureReason, Member, Phase
from fleetform.domain.rollout import Track

PROTOCOL_VERSION = 1
OLDEST_PROTOCOL_VERSION = 1


class VerifyArtifact(Record, frozen=True, kw_only=True, tag="verify_artifact"):
    """Read the artifact of a model version and make its manifest. artifact lies below one of prefixes.

    expected_digest: what the client pinned, or empty. framework, engine_version: what this host's software must fit, or empty.
    """

    version_uid: str
    artifact: str
    prefixes: tuple[str, ...]
    expected_digest: str = ""
    allow_remote_code: bool = False
    engine: str = "vllm"
    format: str = ""
    task: str = ""
    framework: str = ""
    runtime: str = ""
    engine_version: str = ""


class Prefetch(Record, frozen=True, kw_only=True, tag="prefetch"):
    """Have the artifact of a verified model version in the cache before a replica needs it, if there is room. Nobody waits for it."""

    version_uid: str
    manifest: Manifest
    artifact: str
    prefixes: tuple[str, ...]


class StartReplica(Record, frozen=True, kw_only=True, tag="start_replica"):
    """Make this replica run. Nothing is left to choose: members name the devices, track all that is started.

    served_name: the model id that clients send (the endpoint's name). The engine must also answer to the nonce. endpoint_uid: tells the
    endpoint from another of the same name; empty where the server does not say, and then no sleeping engine is kept for it or woken.
    """

    replica_id: str
    project: str
    endpoint: str
    generation: int
    nonce: str
    served_name: str
    track: Track
    prefixes: tuple[str, ...]
    members: tuple[Member, ...]
    start_timeout_s: int
    request_timeout_s: int
    endpoint_uid: str = ""


class StopReplica(Record, frozen=True, kw_only=True, tag="stop_replica"):
    """Stop this replica: in-flight at the proxy 0 or drain_timeout_s over, SIGTERM, the whole group gone, device memory back.

    The proxy must no longer route to it: publish first, wait for the ACK. keep_warm: fewer are asked for, and the same may soon be asked
    for again; the host may keep the engine asleep in place of ending it. The replica itself exits either way.
    """

    replica_id: str
    drain_timeout_s: int
    keep_warm: bool = False


class ForgetReplica(Record, frozen=True, kw_only=True, tag="forget_replica"):
    """Drop the record of a replica that has exited; its log is kept for a while."""

    replica_id: str


class EvictSleeping(Record, frozen=True, kw_only=True, tag="evict_sleeping"):
    """End these sleeping engines: what they would be woken for is not wanted any more. Sent only to a host that reports some."""

    engine_ids: tuple[str, ...]


Command = VerifyArtifact | Prefetch | StartReplica | StopReplica | ForgetReplica | EvictSleeping


class CommandRequest(Record, frozen=True, kw_only=True):
    protocol_version: int
    epoch: int
    command_id: str
    command: Command


class CommandResult(Record, frozen=True, kw_only=True):
    """accepted: the work has begun or is done; its progress is in the report. repeated: this id had been seen before.

    unknown: the replica to be stopped is not known here, and will not be started here any more, whatever is still on its way.
    """

    command_id: str
    accepted: bool
    repeated: bool = False
    message: str = ""
    unknown: bool = False


class HostRefusal(Record, frozen=True, kw_only=True):
    """409: the epoch is lower than one the host has seen, or the protocol version is not spoken here."""

    reason: str
    message: str
    epoch: int
    protocol_version: int = PROTOCOL_VERSION


class HostReplicaState(StrEnum):
    """serving: socket up, served id and nonce match, the one-token canary answered. exited: the whole process group is gone."""

    FETCHING = "fetching"
    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"
    EXITED = "exited"
    QUARANTINED = "quarantined"


class HostReplica(Record, frozen=True, kw_only=True):
    """What the host knows of one replica. in_flight: at this host's proxy, None when it cannot be read.

    hung_since: a serving engine makes no progress with what it has since then; the gateway here has already taken it out of rotation.
    slow: why the gateway has ejected it for a while, as an outlier by latency; empty when it has not.
    """

    replica_id: str
    state: HostReplicaState
    seq: int
    members: tuple[Member, ...] = ()
    address: Address | None = None
    phases: tuple[Phase, ...] = ()
    failure: FailureReason | None = None
    message: str = ""
    log_tail: tuple[str, ...] = ()
    exit_code: int | None = None
    in_flight: int | None = None
    hung_since: datetime | None = None
    slow: str = ""


class SleepingEngine(Record, frozen=True, kw_only=True):
    """An engine without a replica: its weights lie in the host's memory and its device is free, until it is woken or ended.

    engine_id: the replica that launched it. since: when it fell asleep. memory_mib: of the host. disk_mib: of its
    snapshot, where it lies on disk in place of memory.
    """

    engine_id: str
    project: str
    endpoint: str
    endpoint_uid: str
    track_id: str
    model_version: str
    devices: tuple[str, ...]
    since: datetime
    memory_mib: int
    disk_mib: int = 0


def sleeping_engine(engine_id: str, start: "StartReplica", since: datetime, *, memory_mib: int = 0, disk_mib: int = 0) -> SleepingEngine:
    """The engine of start, kept in memory or on disk. start: what it served last."""
    return SleepingEngine(
        engine_id=engine_id,
        project=start.project,
        endpoint=start.endpoint,
        endpoint_uid=start.endpoint_uid,
        track_id=start.track.track_id,
        model_version=start.track.model_version,
        devices=tuple(device for member in start.members for device in member.devices),
        since=since,
        memory_mib=memory_mib,
        disk_mib=disk_mib,
    )


class ArtifactState(StrEnum):
    VERIFYING = "verifying"
    VERIFIED = "verified"
    REFUSED = "refused"


class ArtifactReport(Record, frozen=True, kw_only=True):
    """The verification of one model version. reason: a `Verified` reason when refused."""

    version_uid: str
    state: ArtifactState
    seq: int
    manifest: Manifest | None = None
    reason: str = ""
    message: str = ""
    done: int = 0
    total: int = 0


class GatewayReport(Record, frozen=True, kw_only=True):
    """What the proxy on this host has acknowledged.

    epoch, version: of the newest snapshot stored here. acked_version: every resource of every update up to it is in force in every
    live proxy. rejected: endpoint key → the proxy's words, for routes it refused (the previous ones stay in force).
    waiting: endpoint key → requests that the activator holds because nothing is there to answer them; it wakes whoever observes.
    """

    epoch: int
    version: int
    acked_version: int
    proxy_alive: bool
    rejected: dict[str, str] = {}
    waiting: dict[str, int] = {}


class HostReport(Record, frozen=True, kw_only=True):
    """Everything newer than `since`; full when it is all there is. seq: pass it as the next since. removed: forgotten replicas.

    sleeping: every engine that sleeps here, in each report.
    """

    protocol_version: int
    host: str
    boot_id: str
    instance: str
    seq: int
    full: bool
    epoch: int
    capacity: HostCapacity
    replicas: tuple[HostReplica, ...] = ()
    removed: tuple[str, ...] = ()
    artifacts: tuple[ArtifactReport, ...] = ()
    gateway: GatewayReport | None = None
    sleeping: tuple[SleepingEngine, ...] = ()


class HostHealth(Record, frozen=True, kw_only=True):
    """The worker runs. server_heard_s: seconds since a server has asked this host what is new; None: none has since the worker started.

    snapshots: what lies on disk of engines, or why this host makes no snapshot of one; empty where none are asked for.
    """

    status: str = "ok"
    server_heard_s: float | None = None
    snapshots: str = ""


class LogText(Record, frozen=True, kw_only=True):
    """The end of an engine's log, oldest line first, secrets redacted."""

    replica_id: str
    lines: tuple[str, ...]
