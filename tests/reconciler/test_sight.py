"""What hosts report, put together from deltas, and who is woken by it."""

from datetime import timedelta

from fleetform.domain.protocol import PROTOCOL_VERSION, HostReplica, HostReplicaState, HostReport
from fleetform.reconciler.sight import Sight
from tests.builders import NOON, a_host

S = HostReplicaState


class Watcher:
    def __init__(self) -> None:
        self.replicas: list[str] = []
        self.sight = Sight(self.replicas.append, lambda uid: None, lambda uid: None)

    def merge(self, *replicas: HostReplica, full: bool = False, removed: tuple[str, ...] = ()) -> list[str]:
        """Take a report in; the replicas that were told of."""
        self.replicas.clear()
        report = HostReport(
            protocol_version=PROTOCOL_VERSION,
            host="host-1",
            boot_id="b",
            instance="i",
            seq=1,
            full=full,
            epoch=1,
            capacity=a_host(),
            replicas=replicas,
            removed=removed,
        )
        self.sight.ask("host-1")
        self.sight.merge("host-1", report)
        return sorted(self.replicas)


def a_seen(replica_id: str, state: HostReplicaState = S.SERVING, seq: int = 1, in_flight: int | None = None) -> HostReplica:
    return HostReplica(replica_id=replica_id, state=state, seq=seq, in_flight=in_flight)


def test_only_what_a_plan_could_act_on_wakes() -> None:
    watcher = Watcher()
    assert watcher.merge(a_seen("r1"), a_seen("r2"), full=True) == ["r1", "r2"]
    assert watcher.merge(a_seen("r1", seq=5, in_flight=3)) == []
    assert watcher.merge(a_seen("r1", S.EXITED)) == ["r1"]
    assert watcher.merge(removed=("r1",)) == ["r1"]
    assert watcher.sight.replica("host-1", "r1") is None
    assert watcher.sight.replica("host-1", "r2") is not None


def test_what_a_full_report_does_not_name_is_gone() -> None:
    watcher = Watcher()
    watcher.merge(a_seen("r1"), a_seen("r2"), full=True)
    assert watcher.merge(a_seen("r2"), full=True) == ["r1"]


def test_what_was_noted_while_the_host_answered_is_kept_until_it_is_asked_again() -> None:
    watcher = Watcher()
    watcher.merge(full=True)
    watcher.sight.ask("host-1")
    watcher.sight.note("host-1", a_seen("new", S.FETCHING))
    report = HostReport(
        protocol_version=PROTOCOL_VERSION, host="host-1", boot_id="b", instance="i", seq=2, full=True, epoch=1, capacity=a_host()
    )
    watcher.sight.merge("host-1", report)
    assert watcher.sight.replica("host-1", "new") is not None
    assert watcher.merge(full=True) == ["new"]
    assert watcher.sight.replica("host-1", "new") is None


def test_a_host_that_is_lost_and_back_wakes_all_it_runs() -> None:
    watcher = Watcher()
    watcher.merge(a_seen("r1"), full=True)
    watcher.replicas.clear()
    assert watcher.sight.lose("host-1", NOON)
    assert watcher.replicas == ["r1"]
    assert not watcher.sight.lose("host-1", NOON + timedelta(seconds=5))
    assert watcher.sight.away_since("host-1") == NOON
    assert not watcher.sight.lose("host-1", NOON - timedelta(hours=1))
    assert watcher.sight.away_since("host-1") == NOON - timedelta(hours=1), "our clock was set back, and it is not away in the future"
    assert watcher.merge() == ["r1"]
    assert watcher.sight.away_since("host-1") is None
