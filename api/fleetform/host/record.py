"""The record of one replica on this host: what was asked, what runs, what became of it. It owns what runs (decision 0013)."""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import structlog

from fleetform.domain.base import Record
from fleetform.domain.protocol import HostReplica, HostReplicaState, StartReplica
from fleetform.domain.replica import START_PHASES, Address, FailureReason, Phase, ProcessIdentity
from fleetform.host import records
from fleetform.host.layout import Layout
from fleetform.host.processes import Identity
from fleetform.steps import Step, step

log = structlog.get_logger(__name__)


class ReplicaRecord(Record, frozen=True, kw_only=True):
    """start: the command it began with. oom_kills: the kernel's counter when it was launched. hung_since: out of rotation since then.

    woken_id, woken_nonce: the engine that it woke in place of launching one, and the name that one answers to. fingerprint: what the engine
    was started with, where it may be put to sleep. keep_warm: it is being stopped, and its engine may sleep. freezes: it may be put on
    disk. on_disk: the engine that it woke is not back from there yet. expects: what that one must answer, as it did before.

    zygote: from which its engine was forked for a device. not_forked: of what that engine failed, so that another is started plainly.

    drain_until: when it is being stopped, how long the proxy may still take to let go of it. failure is set before anything is torn
    down, so that a worker that dies meanwhile does not lose the reason.
    """

    start: StartReplica
    state: HostReplicaState = HostReplicaState.FETCHING
    address: Address | None = None
    process: ProcessIdentity | None = None
    phases: tuple[Phase, ...] = ()
    failure: FailureReason | None = None
    message: str = ""
    log_tail: tuple[str, ...] = ()
    exit_code: int | None = None
    drain_until: datetime | None = None
    oom_kills: int | None = None
    hung_since: datetime | None = None
    woken_id: str = ""
    woken_nonce: str = ""
    fingerprint: str = ""
    keep_warm: bool = False
    freezes: bool = False
    on_disk: bool = False
    expects: str = ""
    zygote: ProcessIdentity | None = None
    not_forked: str = ""

    @property
    def replica_id(self) -> str:
        return self.start.replica_id

    @property
    def engine_id(self) -> str:
        """The replica that launched its engine, under whose id that has its directories, its socket and its log."""
        return self.woken_id or self.replica_id

    @property
    def instance(self) -> str:
        """The model id by which its engine is told from every other."""
        return f"ff-{self.woken_nonce or self.start.nonce}"

    @property
    def route_key(self) -> str:
        """The route that may name this replica."""
        return f"{self.start.project}/{self.start.endpoint}"

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(device for member in self.start.members for device in member.devices)

    @property
    def identity(self) -> Identity | None:
        """The leader of its process group, once there is one."""
        return None if self.process is None else Identity(**msgspec.structs.asdict(self.process))

    def shown(self) -> HostReplica:
        """As the report shows it; seq and in_flight are not known here."""
        members = tuple(msgspec.structs.replace(member, process=self.process) for member in self.start.members)
        return HostReplica(
            replica_id=self.replica_id,
            state=self.state,
            seq=0,
            members=members,
            address=self.address,
            phases=self.phases,
            failure=self.failure,
            message=self.message,
            log_tail=self.log_tail,
            exit_code=self.exit_code,
            hung_since=self.hung_since,
        )


def domain_identity(identity: Identity) -> ProcessIdentity:
    """identity in the words of the protocol."""
    return ProcessIdentity(**identity._asdict())


def in_phase(phases: tuple[Phase, ...], name: str, now: datetime, done: int | None = None, total: int | None = None) -> tuple[Phase, ...]:
    """phases with the one called name running since now, and the one before it ended; each name stands once.

    done says that this is progress: then a phase that is known already keeps its beginning. A name that START_PHASES lacks is a bug.
    """
    if name not in START_PHASES:
        raise ValueError(f"a start has no phase {name!r}")
    known = next((phase for phase in phases if phase.name == name), None)
    started_at = known.started_at if known is not None and done is not None else now
    others = without_running(tuple(phase for phase in phases if phase is not known), now)
    return (*others, Phase(name=name, started_at=started_at, done=done, total=total))


def without_running(phases: tuple[Phase, ...], now: datetime) -> tuple[Phase, ...]:
    """phases with the last one ended."""
    if not phases or phases[-1].ended_at is not None:
        return phases
    return (*phases[:-1], msgspec.structs.replace(phases[-1], ended_at=now))


def utc_now() -> datetime:
    return datetime.now(UTC)


def save(layout: Layout, record: ReplicaRecord) -> None:
    """Write record; on disk when this returns."""
    step(Step.HOST_RECORD_BEFORE)
    records.write(layout.record(record.replica_id), msgspec.json.encode(record))
    step(Step.HOST_RECORD_SAVED)


def load_all(layout: Layout) -> Iterator[ReplicaRecord]:
    """Every record of this host. A record that cannot be read, or bears another's name, is left there and named in the log.

    What it tells of may run.
    """
    for path in sorted(layout.replicas.glob("*.json")):
        try:
            found = msgspec.json.decode(path.read_bytes(), type=ReplicaRecord)
        except (OSError, msgspec.DecodeError) as error:
            log.error("record_unreadable", path=str(path), error=str(error))
            continue
        if path.stem == found.replica_id:
            yield found
        else:
            log.error("record_misplaced", path=str(path), replica=found.replica_id)
