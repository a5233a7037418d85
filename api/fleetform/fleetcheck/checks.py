"""The invariants, over facts that were read at about the same time. Pure.

I1  at most one process group per replica, one replica per device, and no replica on an engine that sleeps
I2  no engine without a record, no serving replica without a process
I3  no quota and no host holds more than it has
I4  every row can be read
I5  what is ready is routed, by the weights that are in force
I6  each request has one end
I7  every change is in the events
I8  no secret and no canary in any log or row
"""

from collections import Counter
from collections.abc import Callable, Iterator

from fleetform.domain.protocol import HostReplicaState
from fleetform.domain.replica import Replica, ReplicaPhase, Unix
from fleetform.fleetcheck.facts import Broken, Facts, Machine, RecordedEndpoint, Rows, Verdict
from fleetform.gateway.snapshot import EndpointRoute, Target

P = ReplicaPhase
S = HostReplicaState
HOLDING = frozenset({P.PLACING, P.FETCHING, P.STARTING, P.READY, P.DRAINING})
PROVEN = frozenset({S.SERVING, S.STOPPING})


def verdicts(facts: Facts) -> tuple[Verdict, ...]:
    """One per invariant, in order."""
    rows = facts.rows
    replicas = sum(len(endpoint.replicas) for endpoint in rows.endpoints)
    return (
        _of_machine("I1", "one process group per replica, one replica per device", facts, _once, lambda m: len(m.records)),
        _of_machine("I2", "no engine without a record, no serving replica without a process", facts, _recorded, lambda m: len(m.sessions)),
        Verdict(invariant="I3", title="no quota and no host holds more than it has", looked_at=replicas, broken=tuple(_bounded(rows))),
        Verdict(invariant="I4", title="every row can be read", looked_at=len(rows.endpoints), broken=tuple(_readable(rows))),
        _of_machine("I5", "what is ready is routed, by the weights in force", facts, _routed, lambda m: len(m.routes)),
        _of_machine("I6", "each request has one end", facts, _ended, lambda m: len(m.access_log)),
        Verdict(invariant="I7", title="every change is in the events", looked_at=len(rows.endpoints), broken=tuple(_announced(rows))),
        Verdict(invariant="I8", title="no secret in a log or a row", looked_at=len(rows.endpoints), broken=tuple(_silent(facts))),
    )


def _of_machine(
    invariant: str, title: str, facts: Facts, check: Callable[[Rows, Machine], Iterator[Broken]], count: Callable[[Machine], int]
) -> Verdict:
    if facts.machine is None:
        return Verdict(invariant=invariant, title=title, looked_at=None)
    found = tuple(check(facts.rows, facts.machine))
    return Verdict(invariant=invariant, title=title, looked_at=count(facts.machine), broken=found)


def _once(_rows: Rows, machine: Machine) -> Iterator[Broken]:
    groups = Counter(session.replica_id for session in machine.sessions if session.replica_id)
    for replica_id, number in sorted(groups.items()):
        if number > 1:
            pids = [pid for session in machine.sessions if session.replica_id == replica_id for pid in session.pids]
            yield Broken(ids=(replica_id,), message=f"{number} process groups, of pids {', '.join(map(str, sorted(pids)))}")
    taken: dict[str, str] = {}
    for record in machine.records:
        if record.state is S.SERVING and record.engine_id in machine.asleep:
            yield Broken(ids=(record.replica_id, record.engine_id), message=f"{record.state} on an engine that sleeps by its record")
        for device in record.devices if record.state is not S.EXITED else ():
            if taken.setdefault(device, record.replica_id) != record.replica_id:
                yield Broken(ids=(taken[device], record.replica_id), message=f"both run on device {device}")


def _recorded(rows: Rows, machine: Machine) -> Iterator[Broken]:
    records = {record.replica_id: record for record in machine.records}
    for session in machine.sessions:
        pids = ", ".join(map(str, session.pids))
        record = records.get(session.replica_id)
        if session.replica_id in machine.asleep:
            continue
        if record is None:
            whose = session.replica_id or f"session {session.session_id}"
            yield Broken(ids=(whose,), message=f"engine processes {pids} run without a record on this host")
        elif record.state is S.EXITED:
            yield Broken(ids=(session.replica_id,), message=f"the record says exited, and the processes {pids} live")
    for record in machine.records:
        if record.state in PROVEN and not record.alive and not record.ending:
            yield Broken(ids=(record.replica_id,), message=f"the record says {record.state}, and its process is gone")
    known = {replica.replica_id for endpoint in rows.endpoints for replica in endpoint.replicas}
    for record in machine.records:
        if record.state is not S.EXITED and record.replica_id not in known:
            yield Broken(ids=(record.replica_id,), message=f"{record.state} on {machine.host}, and the database has no such replica")
    for replica in _here(rows, machine):
        record = records.get(replica.replica_id)
        if replica.phase is P.READY and (record is None or record.state is not S.SERVING or not record.alive):
            seen = "not known to its host" if record is None else f"{record.state} there"
            yield Broken(ids=(replica.replica_id,), message=f"recorded as Ready, and {seen}")


def _here(rows: Rows, machine: Machine) -> Iterator[Replica]:
    for endpoint in rows.endpoints:
        yield from (replica for replica in endpoint.replicas if replica.members[0].host == machine.host)


def _bounded(rows: Rows) -> Iterator[Broken]:
    for quota in rows.quotas:
        if max(quota.used, quota.reserved) > quota.limit:
            name = f"{quota.project}/{quota.instance_type}"
            yield Broken(ids=(name,), message=f"{quota.reserved} reserved, {quota.used} held with bookings, of {quota.limit}")
    for endpoint in rows.endpoints:
        for replica in endpoint.replicas:
            if replica.phase in HOLDING and replica.replica_id not in endpoint.holding:
                yield Broken(ids=(endpoint.key, replica.replica_id), message=f"{replica.phase} without a reservation")
    for host in rows.hosts:
        mine = [reservation for reservation in rows.reservations if reservation.host == host.host]
        cpu, memory = sum(r.cpu_millis for r in mine), sum(r.memory_mib for r in mine)
        if cpu > host.cpu_millis or memory > host.memory_mib:
            yield Broken(ids=(host.host,), message=f"{cpu} of {host.cpu_millis} CPU millis, {memory} of {host.memory_mib} MiB reserved")
        for device, number in Counter(device for r in mine for device in r.devices).items():
            if number > 1:
                yield Broken(ids=(host.host, device), message=f"the device is reserved {number} times")


def _readable(rows: Rows) -> Iterator[Broken]:
    for what in rows.unreadable:
        yield Broken(ids=(what,), message="the row cannot be decoded")
    for endpoint in rows.endpoints:
        if endpoint.observed_generation > endpoint.generation:
            message = f"generation {endpoint.observed_generation} was looked after, and {endpoint.generation} is recorded: a write was lost"
            yield Broken(ids=(endpoint.key,), message=message)


def _routed(rows: Rows, machine: Machine) -> Iterator[Broken]:
    for endpoint in rows.endpoints:
        ready = [replica for replica in endpoint.replicas if replica.phase is P.READY]
        route = machine.routes.get(endpoint.key)
        if route is None:
            if not endpoint.deleting:
                yield Broken(ids=(endpoint.key,), message="the endpoint has no route")
        elif not endpoint.deleting:
            yield from _served(endpoint, ready, route)
    if machine.envoy is None:
        yield Broken(ids=(machine.host,), message="Envoy does not answer")
        return
    for key, route in machine.routes.items():
        missing = {_text(target) for target in _open(route)} - machine.envoy.get(key, frozenset())
        if key not in machine.envoy or missing:
            what = f"Envoy lacks {', '.join(sorted(missing))}" if key in machine.envoy else "Envoy does not know the route"
            yield Broken(ids=(key,), message=what)
    for key in sorted(set(machine.routes) - {endpoint.key for endpoint in rows.endpoints}):
        yield Broken(ids=(key,), message="a route of an endpoint that is not there")


def _served(endpoint: RecordedEndpoint, ready: list[Replica], route: EndpointRoute) -> Iterator[Broken]:
    routed = {target.replica_id for target in _open(route)}
    for replica in ready:
        if replica.replica_id not in routed:
            yield Broken(ids=(endpoint.key, replica.replica_id), message="the replica is ready, and not routed")
    wanted = {track: weight for track, weight in endpoint.weights.items() if weight}
    told = {track.track: track.weight for track in route.tracks if track.weight}
    if wanted != told:
        yield Broken(ids=(endpoint.key,), message=f"weights {wanted} are in force by the record, {told} by the route")


def _open(route: EndpointRoute) -> Iterator[Target]:
    return (target for track in route.tracks for target in track.targets if not target.draining)


def _text(target: Target) -> str:
    """The target's address as Envoy shows it."""
    return target.address.path if isinstance(target.address, Unix) else f"127.0.0.1:{target.address.port}"


def _ended(_rows: Rows, machine: Machine) -> Iterator[Broken]:
    for request_id, number in Counter(line.request_id for line in machine.access_log).items():
        if number > 1:
            yield Broken(ids=(request_id,), message=f"{number} lines in the access log")
    for line in machine.access_log:
        if not line.answered or not line.request_id:
            yield Broken(ids=(line.request_id,), message="a line of the access log does not say which request ended how")


def _announced(rows: Rows) -> Iterator[Broken]:
    for key in rows.unannounced:
        yield Broken(ids=(key,), message="its newest generation is not among its events")


def _silent(facts: Facts) -> Iterator[Broken]:
    for place in (*facts.rows.showing, *(facts.machine.showing if facts.machine is not None else ())):
        yield Broken(ids=(place,), message="a text there has the form of a secret, or holds a canary")
