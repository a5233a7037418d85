"""What goes into a plan and what comes out of it. An action leaves its executor nothing to choose."""

from datetime import datetime
from enum import StrEnum

from fleetform.domain.base import Record
from fleetform.domain.conditions import Reason
from fleetform.domain.endpoint import EndpointStatus
from fleetform.domain.events import NewEvent
from fleetform.domain.load import Windows
from fleetform.domain.machine import Capacity, Reservation, Shape
from fleetform.domain.model import Manifest
from fleetform.domain.protocol import (
    ArtifactReport,
    EvictSleeping,
    ForgetReplica,
    HostReplica,
    SleepingEngine,
    StartReplica,
    StopReplica,
    VerifyArtifact,
)
from fleetform.domain.replica import Replica
from fleetform.domain.rollout import Rollout, RolloutState, StartTimes
from fleetform.domain.scaling import ScalingDecision
from fleetform.gateway.snapshot import EndpointRoute


class SeenReplica(Record, frozen=True, kw_only=True):
    """A recorded replica and what its host says. seen None: the host does not know it. holds: it has a reservation.

    worn: why it should be replaced though it serves (its requests, its memory), or empty. in_flight: requests under way; None: not known.
    away_since: since when its host does not answer.
    """

    replica: Replica
    seen: HostReplica | None = None
    reachable: bool = True
    holds: bool = True
    worn: str = ""
    in_flight: int | None = None
    away_since: datetime | None = None


class SeenSleeper(Record, frozen=True, kw_only=True):
    """An engine of the endpoint that sleeps on host, as that said last. reachable: it answers."""

    host: str
    engine: SleepingEngine
    reachable: bool = True


class Published(Record, frozen=True, kw_only=True):
    """What the gateways were told last. route None: removed. acked: in force in every live proxy. rejected: the proxy's words."""

    route: EndpointRoute | None
    acked: bool
    rejected: str = ""


class Observed(Record, frozen=True, kw_only=True):
    """What is recorded and seen of one endpoint. seed: randomness for new ids.

    start_timeout_s: how long an engine may take to be ready, beside the transfer of its artifact.
    host_lost_s: after how long a silence of its host a replica is replaced elsewhere.
    booked: its floor in the quota. held: its reservations of the instance type that is wanted.
    capacity None: not looked at; a plan that needs it says so and places nothing.
    scaling: the recorded decision about the replica count. decision: a newer one of the autoscaler that is not recorded yet.
    windows: how the tracks have done since the current step of a rollout began; None: not known.
    start_times: track id → how long its starts took, of those that are known. sleepers: its engines that sleep.
    """

    status: EndpointStatus
    seed: str
    start_timeout_s: int = 600
    host_lost_s: int = 60
    booked: int = 0
    held: int = 0
    rollout: RolloutState | None = None
    replicas: tuple[SeenReplica, ...] = ()
    published: Published | None = None
    capacity: Capacity | None = None
    scaling: ScalingDecision | None = None
    decision: ScalingDecision | None = None
    windows: Windows | None = None
    start_times: dict[str, StartTimes] = {}
    sleepers: tuple[SeenSleeper, ...] = ()


class Reserve(Record, frozen=True, kw_only=True, tag="reserve"):
    """Record this replica with what it takes. One transaction; all or nothing."""

    replica: Replica
    reservation: Reservation
    shape: Shape
    instance_type: str


class Start(Record, frozen=True, kw_only=True, tag="start"):
    host: str
    command_id: str
    command: StartReplica


class Stop(Record, frozen=True, kw_only=True, tag="stop"):
    host: str
    command_id: str
    command: StopReplica


class Forget(Record, frozen=True, kw_only=True, tag="forget"):
    host: str
    command_id: str
    command: ForgetReplica


class Evict(Record, frozen=True, kw_only=True, tag="evict"):
    host: str
    command_id: str
    command: EvictSleeping


class Verify(Record, frozen=True, kw_only=True, tag="verify"):
    host: str
    command_id: str
    command: VerifyArtifact


class Move(Record, frozen=True, kw_only=True, tag="move"):
    """Record a replica's new phase or facts. before: the phase it had."""

    replica: Replica
    before: str


class Release(Record, frozen=True, kw_only=True, tag="release"):
    """Give back what a replica held of its host and of the quota."""

    replica_id: str


class Drop(Record, frozen=True, kw_only=True, tag="drop"):
    """Remove the row of a replica that holds nothing any more."""

    replica_id: str


class Book(Record, frozen=True, kw_only=True, tag="book"):
    """Lower the endpoint's booking to what it needs."""

    replicas: int


class PublishRoute(Record, frozen=True, kw_only=True, tag="publish_route"):
    route: EndpointRoute


class RemoveRoute(Record, frozen=True, kw_only=True, tag="remove_route"):
    key: str


class Bury(Record, frozen=True, kw_only=True, tag="bury"):
    """Turn the endpoint into a tombstone: nothing of it is left but its row and its events."""


Action = Reserve | Start | Stop | Forget | Evict | Move | Release | Drop | Book | PublishRoute | RemoveRoute | Bury


class BlockReason(StrEnum):
    """What a plan waits for."""

    VERSION_NOT_VERIFIED = "VersionNotVerified"
    VERSION_REFUSED = "VersionRefused"
    UNKNOWN_INSTANCE_TYPE = "UnknownInstanceType"
    QUOTA_EXHAUSTED = "QuotaExhausted"
    NO_CAPACITY = "NoCapacity"
    NO_SURGE_CAPACITY = "NoSurgeCapacity"
    MODEL_DOES_NOT_FIT = "ModelDoesNotFit"
    BACK_OFF = "BackOff"
    START_FAILED = "StartFailed"
    HOST_UNREACHABLE = "HostUnreachable"
    HOST_WORKS = "HostWorks"
    PROXY_ACK = "ProxyAck"
    STEP_HOLD = "StepHold"
    WORN = "Worn"


class Blocked(Record, frozen=True, kw_only=True):
    """Why something that is wanted is not done now."""

    reason: BlockReason
    message: str


class Plan(Record, frozen=True, kw_only=True):
    """What is done now, what waits, and what is written down. Empty when nothing differs: then nothing is written either.

    holds: uids of the model versions whose tracks are in use, by the spec or beyond it. needs_capacity: plan again with capacity.
    next_at: when to look again though nothing happened. scaling: the decision to be recorded, which may be the recorded one.
    records: rollouts of which something new is to be told.
    """

    actions: tuple[Action, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    status: EndpointStatus
    rollout: RolloutState | None
    holds: tuple[str, ...] = ()
    events: tuple[NewEvent, ...] = ()
    needs_capacity: bool = False
    next_at: datetime | None = None
    scaling: ScalingDecision | None = None
    records: tuple[Rollout, ...] = ()


class VersionObserved(Record, frozen=True, kw_only=True):
    """hosts: name → instance of every reachable host. report: what one of them says of the artifact."""

    hosts: dict[str, str]
    report: ArtifactReport | None = None


class VersionPlan(Record, frozen=True, kw_only=True):
    """verify: to be sent. manifest: to be frozen. refused: why the version can never be served, and in which words. Or nothing."""

    verify: Verify | None = None
    manifest: Manifest | None = None
    refused: Reason | None = None
    message: str = ""
