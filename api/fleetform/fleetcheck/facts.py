"""What fleetcheck looks at, and what it says."""

from fleetform.domain.base import Record
from fleetform.domain.machine import HostCapacity, Reservation
from fleetform.domain.protocol import HostReplicaState
from fleetform.domain.replica import Replica
from fleetform.gateway.snapshot import EndpointRoute


class RecordedEndpoint(Record, frozen=True, kw_only=True):
    """An endpoint's rows. key: `project/name`. weights: track id → percent in force; empty before the first rollout.

    holding: ids of its replicas that have a reservation.
    """

    key: str
    generation: int
    observed_generation: int
    deleting: bool
    weights: dict[str, int]
    replicas: tuple[Replica, ...]
    holding: frozenset[str]


class QuotaUse(Record, frozen=True, kw_only=True):
    """What a project may hold of an instance type; used counts reservations and what PUT has booked, reserved the former alone."""

    project: str
    instance_type: str
    limit: int
    used: int
    reserved: int


class Rows(Record, frozen=True, kw_only=True):
    """The database. unreadable: rows that cannot be decoded. unannounced: endpoint keys whose newest generation has no event.

    showing: places, such as `event 17`, in which a text has the form of a secret or holds a canary.
    """

    endpoints: tuple[RecordedEndpoint, ...] = ()
    hosts: tuple[HostCapacity, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    quotas: tuple[QuotaUse, ...] = ()
    unreadable: tuple[str, ...] = ()
    unannounced: tuple[str, ...] = ()
    showing: tuple[str, ...] = ()


class HostRecord(Record, frozen=True, kw_only=True):
    """The host's record of one replica. engine_id: the replica that launched its engine. alive: the process that it names runs.

    ending: it is being stopped, and its host may still have to wait for what outlives a process, such as the memory of a device.
    """

    replica_id: str
    engine_id: str
    state: HostReplicaState
    devices: tuple[str, ...]
    alive: bool
    ending: bool = False


class Session(Record, frozen=True, kw_only=True):
    """A session of processes that carry a replica's mark. replica_id: empty when the mark is of none that is known.

    What a replica has woken is its own; what sleeps has the id of the replica that launched it.
    """

    replica_id: str
    session_id: int
    pids: tuple[int, ...]


class LogLine(Record, frozen=True, kw_only=True):
    """A request in the access log. answered: it says how the request ended."""

    request_id: str
    answered: bool


class Machine(Record, frozen=True, kw_only=True):
    """One machine with a host worker. routes: the snapshot stored there. asleep: ids of engines that sleep, by their records.

    envoy: cluster → addresses as Envoy has them; None: it does not answer. showing: as in `Rows`, places in log files,
    such as `server.log:-17` for a line counted from the end.
    """

    host: str
    records: tuple[HostRecord, ...] = ()
    sessions: tuple[Session, ...] = ()
    asleep: frozenset[str] = frozenset()
    routes: dict[str, EndpointRoute] = {}
    envoy: dict[str, frozenset[str]] | None = None
    access_log: tuple[LogLine, ...] = ()
    showing: tuple[str, ...] = ()


class Facts(Record, frozen=True, kw_only=True):
    """Everything. machine None: no host worker has ever run here, so that processes and routes cannot be looked at."""

    rows: Rows
    machine: Machine | None = None


class Broken(Record, frozen=True, kw_only=True):
    """One thing that is not as it must be. ids: of what is concerned."""

    ids: tuple[str, ...]
    message: str


class Verdict(Record, frozen=True, kw_only=True):
    """One invariant. looked_at: how many things were compared; None: it could not be looked at here."""

    invariant: str
    title: str
    looked_at: int | None
    broken: tuple[Broken, ...] = ()
