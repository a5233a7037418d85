"""A replica: one engine, perhaps on several devices; its address, its phases and the one transition table."""

from datetime import datetime
from enum import StrEnum

import msgspec

from fleetform.domain.base import Record


class Unix(Record, frozen=True, kw_only=True, tag="unix"):
    """A Unix socket on the gateway's own machine. path has at most 107 bytes."""

    path: str


class Loopback(Record, frozen=True, kw_only=True, tag="loopback"):
    """A TCP port on 127.0.0.1, for engines that cannot listen on a socket."""

    port: int


class Tls(Record, frozen=True, kw_only=True, tag="tls"):
    """Another machine's Envoy: mTLS with that identity, which routes by route_key to the engine's socket."""

    host: str
    port: int
    identity: str
    route_key: str


START_PHASES: dict[str, str] = {
    "place": "the server has reserved its place, and the host hears of it",
    "wake": "where an engine of the same sleeps on the host, it gets its weights back on the device, and nothing is started",
    "restore": "where an engine of the same lies on the host's disk, it is taken from there, and nothing is started",
    "fetch": "the artifact is copied to the host; already there, when it was fetched ahead or served before",
    "verify": "every file is compared with the manifest",
    "convert": "GGUF becomes safetensors, once per artifact",
    "fork": "the zygote, which has imported the engine's software, forks the engine",
    "launch": "the engine is started as a program of its own, where it cannot be forked",
    "load": "weights, and what the engine prepares for its device, until its socket answers",
    "warm-up": "what an engine does for the first time it does slowly: here, and not for the first client",
    "canary": "one token, or one embedding, proves that it works",
    "routed": "every proxy has acknowledged it: from here on it is Ready",
}
"""The phases of a start in their order, and what happens in each; those that a start does not need are left out of it."""


class Phase(Record, frozen=True, kw_only=True):
    """One phase of a start, by its name in START_PHASES. ended_at None: running. done/total in bytes, if known."""

    name: str
    started_at: datetime
    ended_at: datetime | None = None
    done: int | None = None
    total: int | None = None


Address = Unix | Loopback | Tls
SOCKET_PATH_MAX = 107


class ProcessIdentity(Record, frozen=True, kw_only=True):
    """What makes a process that one process, also after its pid is reused (decision 0013). start_ticks: field 22 of /proc/PID/stat."""

    boot_id: str
    pid_namespace: int
    pid: int
    start_ticks: int
    session_id: int


class Member(Record, frozen=True, kw_only=True):
    """The part of a replica on one host. devices: full UUIDs. process: the leader of its process group, once started."""

    host: str
    devices: tuple[str, ...] = ()
    process: ProcessIdentity | None = None


class ReplicaPhase(StrEnum):
    PLACING = "Placing"
    FETCHING = "Fetching"
    STARTING = "Starting"
    READY = "Ready"
    DRAINING = "Draining"
    STOPPED = "Stopped"
    FAILED = "Failed"


P = ReplicaPhase
TRANSITIONS: dict[ReplicaPhase, frozenset[ReplicaPhase]] = {
    P.PLACING: frozenset({P.FETCHING, P.STARTING, P.DRAINING, P.FAILED}),
    P.FETCHING: frozenset({P.STARTING, P.DRAINING, P.STOPPED, P.FAILED}),
    P.STARTING: frozenset({P.READY, P.DRAINING, P.STOPPED, P.FAILED}),
    P.READY: frozenset({P.DRAINING, P.FAILED}),
    P.DRAINING: frozenset({P.STOPPED, P.FAILED}),
    P.FAILED: frozenset({P.STOPPED}),
    P.STOPPED: frozenset(),
}
"""What may follow what. Stopped is the end: process group gone, device memory back, reservation released."""


class FailureReason(StrEnum):
    """Why a replica failed. The first group is the host's or the engine's doing, the last the artifact's."""

    CRASHED = "Crashed"
    START_TIMEOUT = "StartTimeout"
    WRONG_MODEL = "WrongModel"
    CANARY_FAILED = "CanaryFailed"
    HUNG = "Hung"
    OOM_KILLED = "OOMKilled"
    LAUNCH_REFUSED = "LaunchRefused"
    HOST_LOST = "HostLost"
    ARTIFACT_MISSING = "ArtifactMissing"
    ACCESS_DENIED = "AccessDenied"
    DIGEST_MISMATCH = "DigestMismatch"
    CACHE_FULL = "CacheFull"


SLOW = "Slow"
"""The reason that a ready replica shows while its gateway has ejected it."""


class Replica(Record, frozen=True, kw_only=True):
    """One replica as the store knows it. track: see rollout.py. nonce: what the engine must repeat to prove that it is this one.

    phases: of its start, as its host has told them. replaces: the replica that it takes over from. hung_since: it makes no progress with
    what it has since then, and the gateway on its machine sends it nothing new. lost_since: its host has been silent for so long that
    another one is to take its place since then; it may still serve. proven: its host has said that it serves, so that proxies may
    have been told of it. keep_warm: it leaves because fewer are asked for, so that its engine may sleep.
    slow: why the gateway on its machine has ejected it for a while, as an outlier by latency. It counts as ready: it comes back by itself.
    message and log_tail are redacted and safe to show to the owner of the endpoint.
    """

    replica_id: str
    endpoint_uid: str
    track: str
    model_version: str
    generation: int
    phase: ReplicaPhase
    members: tuple[Member, ...]
    nonce: str
    created_at: datetime
    changed_at: datetime
    address: Address | None = None
    failure: FailureReason | None = None
    message: str = ""
    log_tail: tuple[str, ...] = ()
    ready_at: datetime | None = None
    stop_requested: bool = False
    phases: tuple[Phase, ...] = ()
    replaces: str | None = None
    hung_since: datetime | None = None
    lost_since: datetime | None = None
    proven: bool = False
    keep_warm: bool = False
    slow: str = ""

    @property
    def serves(self) -> bool:
        """True when requests are answered by it."""
        return self.phase is P.READY and self.hung_since is None


class ReplicaView(Record, frozen=True, kw_only=True):
    """A replica as `GET …/replicas` shows it. age_s counts from created_at.

    phases: of its start. restarts: failed starts of its track in a row. in_flight: requests under way; kv_usage: share of its KV cache in
    use, 0–1; memory_mib: of its processes. None: its host or engine does not say.
    """

    id: str
    variant: str
    model_version: str
    phase: ReplicaPhase
    host: str | None
    devices: tuple[str, ...]
    age_s: int
    reason: str | None = None
    message: str = ""
    log_tail: tuple[str, ...] = ()
    phases: tuple[Phase, ...] = ()
    restarts: int = 0
    in_flight: int | None = None
    kv_usage: float | None = None
    memory_mib: int | None = None


class IllegalTransition(Exception):
    """A bug: the planner or the loop asked for a step that the table does not have."""


def moved(replica: Replica, to: ReplicaPhase, now: datetime) -> Replica:
    """replica in its next phase; staying in the same phase returns it unchanged. IllegalTransition when the table forbids it."""
    if replica.phase is to:
        return replica
    if to not in TRANSITIONS[replica.phase]:
        raise IllegalTransition(f"replica {replica.replica_id}: {replica.phase} -> {to}")
    return msgspec.structs.replace(replica, phase=to, changed_at=now, ready_at=now if to is P.READY else replica.ready_at)
