"""Each invariant of fleetcheck on a fleet that holds it, and on fleets that break it in every way that is looked for."""

import msgspec
import pytest

from fleetform.domain.machine import HostCapacity, Reservation
from fleetform.domain.protocol import HostReplicaState
from fleetform.domain.replica import Loopback, Member, Replica, ReplicaPhase, Unix
from fleetform.fleetcheck.checks import verdicts
from fleetform.fleetcheck.facts import Facts, HostRecord, LogLine, Machine, QuotaUse, RecordedEndpoint, Rows, Session
from fleetform.gateway.snapshot import EndpointRoute, Target, TrackRoute
from tests.builders import NOON, a_host

S = HostReplicaState
P = ReplicaPhase


def a_replica(replica_id: str = "r1", phase: ReplicaPhase = P.READY) -> Replica:
    return Replica(
        replica_id=replica_id,
        endpoint_uid="e1",
        track="v1.0",
        model_version="m:v1",
        generation=1,
        phase=phase,
        members=(Member(host="host-1", devices=("GPU-1",)),),
        nonce="n",
        created_at=NOON,
        changed_at=NOON,
    )


def a_route(*targets: Target, weight: int = 100) -> EndpointRoute:
    track = TrackRoute(track="v1.0", version="v1", weight=weight, targets=targets)
    return EndpointRoute(project="acme", endpoint="chat", generation=1, created=0, tracks=(track,))


HOST: HostCapacity = a_host(gpus=1)
ENDPOINT = RecordedEndpoint(
    key="acme/chat",
    generation=1,
    observed_generation=1,
    deleting=False,
    weights={"v1.0": 100},
    replicas=(a_replica(),),
    holding=frozenset({"r1"}),
)
QUOTA = QuotaUse(project="acme", instance_type="tiny", limit=1, used=1, reserved=1)
HELD = Reservation(replica_id="r1", host="host-1", cpu_millis=10, memory_mib=64, devices=("GPU-1",))
ROWS = Rows(endpoints=(ENDPOINT,), hosts=(HOST,), reservations=(HELD,), quotas=(QUOTA,))
RECORD = HostRecord(replica_id="r1", engine_id="r1", state=S.SERVING, devices=("GPU-1",), alive=True)
TARGET = Target(replica_id="r1", address=Unix(path="/run/r1.sock"))
MACHINE = Machine(
    host="host-1",
    records=(RECORD,),
    sessions=(Session(replica_id="r1", session_id=10, pids=(10, 11)),),
    routes={"acme/chat": a_route(TARGET)},
    envoy={"acme/chat": frozenset({"/run/r1.sock", "/run/act.sock"})},
    access_log=(LogLine(request_id="a", answered=True), LogLine(request_id="b", answered=True)),
)


def broken(rows: Rows = ROWS, machine: Machine | None = MACHINE) -> dict[str, tuple[str, ...]]:
    """Invariant → the ids of what breaks it, of those that are broken."""
    found = verdicts(Facts(rows=rows, machine=machine))
    assert [verdict.invariant for verdict in found] == ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8"]
    return {verdict.invariant: tuple(i for one in verdict.broken for i in one.ids) for verdict in found if verdict.broken}


def rows(**changes: object) -> Rows:
    return msgspec.structs.replace(ROWS, **changes)


def machine(**changes: object) -> Machine:
    return msgspec.structs.replace(MACHINE, **changes)


def endpoint(**changes: object) -> Rows:
    return rows(endpoints=(msgspec.structs.replace(ENDPOINT, **changes),))


def record(**changes: object) -> Machine:
    return machine(records=(msgspec.structs.replace(RECORD, **changes),))


def test_a_sound_fleet_breaks_nothing() -> None:
    assert broken() == {}


def test_what_cannot_be_seen_from_here_is_not_called_sound() -> None:
    found = verdicts(Facts(rows=ROWS, machine=None))
    assert [verdict.invariant for verdict in found if verdict.looked_at is None] == ["I1", "I2", "I5", "I6"]


@pytest.mark.parametrize(
    ("seen", "ids"),
    [
        (machine(sessions=(*MACHINE.sessions, Session(replica_id="r1", session_id=20, pids=(20,)))), ("r1",)),
        (machine(records=(RECORD, msgspec.structs.replace(RECORD, replica_id="r2", state=S.STARTING))), ("r1", "r2", "r2")),
        (machine(asleep=frozenset({"r1"})), ("r1", "r1")),
    ],
)
def test_i1_two_groups_of_one_replica_and_two_replicas_of_one_device(seen: Machine, ids: tuple[str, ...]) -> None:
    found = broken(machine=seen)
    assert found["I1"] + found.get("I2", ()) == ids


def test_i2_an_engine_that_sleeps_has_a_record() -> None:
    asleep = Session(replica_id="r0", session_id=20, pids=(20,))
    found = machine(sessions=(*MACHINE.sessions, asleep), asleep=frozenset({"r0"}))
    assert broken(machine=found) == {}
    assert broken(machine=msgspec.structs.replace(found, asleep=frozenset()))["I2"] == ("r0",)


@pytest.mark.parametrize(
    ("recorded", "seen"),
    [
        (ROWS, machine(records=())),
        (ROWS, record(state=S.EXITED)),
        (ROWS, record(alive=False)),
        (ROWS, record(alive=False, state=S.STOPPING)),
        (ROWS, record(state=S.STARTING)),
        (rows(endpoints=()), machine(routes={})),
    ],
)
def test_i2_an_engine_without_a_record_or_a_row_and_a_row_without_an_engine(recorded: Rows, seen: Machine) -> None:
    assert broken(recorded, seen)["I2"][0] == "r1"


def test_i2_what_is_being_stopped_may_wait_for_the_memory_of_its_device() -> None:
    stopping = endpoint(replicas=(a_replica(phase=P.DRAINING),))
    seen = msgspec.structs.replace(record(state=S.STOPPING, alive=False, ending=True), sessions=())
    assert broken(stopping, seen) == {}


@pytest.mark.parametrize(
    "recorded",
    [
        rows(quotas=(msgspec.structs.replace(QUOTA, reserved=2),)),
        rows(quotas=(msgspec.structs.replace(QUOTA, used=2),)),
        endpoint(holding=frozenset()),
        rows(hosts=(msgspec.structs.replace(HOST, memory_mib=63),)),
        rows(reservations=(HELD, msgspec.structs.replace(HELD, replica_id="r2"))),
    ],
)
def test_i3_more_than_there_is(recorded: Rows) -> None:
    assert set(broken(recorded)) == {"I3"}


@pytest.mark.parametrize("recorded", [rows(unreadable=("endpoint e1",)), endpoint(observed_generation=2)])
def test_i4_a_row_that_cannot_be_read_or_went_back(recorded: Rows) -> None:
    assert set(broken(recorded)) == {"I4"}


@pytest.mark.parametrize(
    "seen",
    [
        machine(routes={}),
        machine(routes={"acme/chat": a_route(msgspec.structs.replace(TARGET, draining=True))}),
        machine(routes={"acme/chat": a_route()}),
        machine(routes={"acme/chat": a_route(TARGET, weight=0)}),
        machine(envoy=None),
        machine(envoy={}),
        machine(envoy={"acme/chat": frozenset({"/run/act.sock"})}),
        machine(routes={"acme/chat": a_route(msgspec.structs.replace(TARGET, address=Loopback(port=8000)))}),
        machine(routes={**MACHINE.routes, "acme/ghost": msgspec.structs.replace(a_route(), endpoint="ghost")}),
    ],
)
def test_i5_what_is_ready_and_not_routed(seen: Machine) -> None:
    assert set(broken(machine=seen)) == {"I5"}


def test_i5_an_endpoint_that_is_torn_down_needs_no_route() -> None:
    gone = endpoint(deleting=True, replicas=(), holding=frozenset())
    assert broken(gone, machine(routes={}, envoy={}, records=(), sessions=())) == {}


@pytest.mark.parametrize("line", [LogLine(request_id="a", answered=True), LogLine(request_id="c", answered=False)])
def test_i6_a_request_with_two_ends_or_none(line: LogLine) -> None:
    assert broken(machine=machine(access_log=(*MACHINE.access_log, line))) == {"I6": (line.request_id,)}


def test_i7_a_generation_without_an_event() -> None:
    assert broken(rows(unannounced=("acme/chat",))) == {"I7": ("acme/chat",)}


def test_i8_a_secret_in_a_row_or_a_log() -> None:
    assert broken(rows(showing=("event 17",)), machine(showing=("server.log:-3",))) == {"I8": ("event 17", "server.log:-3")}
