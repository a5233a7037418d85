"""The host protocol: epochs, command ids, versions, the long poll, logs, and shutting down."""

import threading
import time

from fleetform.domain.protocol import ForgetReplica, HostReplicaState, StopReplica, VerifyArtifact
from fleetform.gateway.snapshot import SnapshotUpdate
from fleetform.host import processes
from tests.host.machine import Machine, identity_of
from tests.host.test_adoption import recorded_worker

S = HostReplicaState


def test_a_lower_epoch_is_refused_also_after_a_restart(worker: Machine) -> None:
    assert worker.command(ForgetReplica(replica_id="r0"), epoch=7).accepted
    refusal = worker.refused(ForgetReplica(replica_id="r0"), epoch=6)
    assert (refusal.reason, refusal.epoch) == ("StaleEpoch", 7)
    worker.kill(recorded_worker(worker))
    worker.start_worker()
    assert worker.report().epoch == 7
    assert worker.refused(ForgetReplica(replica_id="r0"), epoch=6).reason == "StaleEpoch"
    assert worker.command(ForgetReplica(replica_id="r0"), epoch=7).accepted


def test_a_snapshot_of_a_lower_epoch_is_refused(worker: Machine) -> None:
    worker.command(ForgetReplica(replica_id="r0"), epoch=7)
    response = worker.call("POST", "/v1/gateway/snapshot", SnapshotUpdate(epoch=6, version=1, base=0, full=True))
    assert (response.status_code, response.json()["reason"]) == (409, "StaleEpoch")
    response = worker.call("POST", "/v1/gateway/snapshot", SnapshotUpdate(epoch=7, version=1, base=0, full=True))
    assert (response.status_code, response.json()["type"]) == (200, "applied")
    gateway = worker.report().gateway
    assert gateway is not None
    assert (gateway.epoch, gateway.version) == (7, 1)


def test_a_repeated_command_answers_what_it_did_and_does_it_once(worker: Machine) -> None:
    start = worker.start_replica()
    worker.await_state(S.SERVING)
    leader = identity_of(worker.replica())
    first = worker.command(StopReplica(replica_id="r2", drain_timeout_s=0), command_id="same")
    worker.kill(recorded_worker(worker))
    worker.start_worker()
    again = worker.command(start, command_id="same")
    assert again.repeated
    assert again.message == first.message
    assert identity_of(worker.await_state(S.SERVING)) == leader


def test_a_start_under_another_id_does_not_start_it_twice(worker: Machine) -> None:
    start = worker.start_replica()
    worker.await_state(S.SERVING)
    leader = identity_of(worker.replica())
    assert "known already" in worker.command(start).message
    assert identity_of(worker.replica()) == leader


def test_an_unknown_protocol_version_is_refused(worker: Machine) -> None:
    refusal = worker.refused(ForgetReplica(replica_id="r0"), protocol_version=99)
    assert refusal.reason == "ProtocolVersion"


def test_a_replica_id_never_becomes_a_path(worker: Machine) -> None:
    worker.serving("r1")
    assert not worker.command(ForgetReplica(replica_id="../r1")).accepted
    assert worker.call("GET", "/v1/replicas/..%2Fr1/log").json().get("lines", []) == []
    assert worker.log_lines("no-such-replica") == ()


def test_what_is_no_command_is_a_bad_request(worker: Machine) -> None:
    response = worker.call("POST", "/v1/commands", {"epoch": 1})
    assert response.status_code == 400
    assert worker.call("GET", "/v1/observe", since=-1).status_code == 400


def test_a_reader_is_woken_by_a_change_and_told_nothing_else(worker: Machine) -> None:
    worker.serving("r1")
    since = worker.report().seq
    began = time.monotonic()
    idle = worker.report(since, wait_s=0.3)
    assert time.monotonic() - began >= 0.3
    assert (idle.full, idle.replicas, idle.seq) == (False, (), since)
    start = threading.Timer(0.2, worker.start_replica, ["r3"])
    start.start()
    woken = worker.report(since, wait_s=20)
    assert not woken.full
    assert {replica.replica_id for replica in woken.replicas} == {"r3"}
    start.join()


def test_a_reader_of_an_earlier_worker_is_told_everything(worker: Machine) -> None:
    worker.serving("r1")
    before = worker.report()
    worker.kill(recorded_worker(worker))
    worker.start_worker()
    after = worker.report(before.seq, wait_s=10)
    assert after.full
    assert after.instance != before.instance
    assert after.seq > before.seq
    assert [replica.replica_id for replica in after.replicas] == ["r1"]


def test_a_lost_verification_is_begun_again_by_its_repeated_command(worker: Machine) -> None:
    command = VerifyArtifact(version_uid="v1", artifact=f"file://{worker.root}/models/none/", prefixes=(f"file://{worker.root}/models/",))
    worker.command(command, command_id="verify-v1")
    worker.kill(recorded_worker(worker))
    worker.start_worker()
    assert worker.report().artifacts == ()
    worker.command(command, command_id="verify-v1")
    assert [report.version_uid for report in worker.report().artifacts] == ["v1"]


def test_shutting_down_ends_every_engine_and_says_so_when_they_are_gone(worker: Machine) -> None:
    leaders = [identity_of(worker.serving(replica_id, children=1)) for replica_id in ("r1", "r2")]
    assert worker.call("POST", "/v1/shutdown").status_code == 204
    assert not any(processes.group(leader, worker.root).ours for leader in leaders)
    assert [replica.state for replica in worker.report().replicas] == [S.EXITED, S.EXITED]
    assert [replica.failure for replica in worker.report().replicas] == [None, None]


def test_the_socket_is_for_this_user_alone(worker: Machine) -> None:
    assert worker.settings.host_socket.stat().st_mode & 0o777 == 0o600
    assert worker.settings.run.stat().st_mode & 0o777 == 0o700


def test_a_replica_that_was_stopped_before_its_start_came_is_never_started(worker: Machine) -> None:
    stopped = worker.command(StopReplica(replica_id="r9", drain_timeout_s=0))
    assert stopped.accepted
    assert stopped.unknown
    artifact, manifest = worker.model("r9")
    late = worker.command(worker.start_command("r9", artifact, manifest))
    assert not late.accepted
    assert "stopped before" in late.message
    assert [replica.replica_id for replica in worker.report().replicas] == []


def test_a_repeated_stop_tells_when_the_replica_is_known_no_more(worker: Machine) -> None:
    worker.serving("r1")
    stop = StopReplica(replica_id="r1", drain_timeout_s=0)
    assert not worker.command(stop, command_id="stop-r1").unknown
    worker.await_state(S.EXITED)
    assert worker.command(ForgetReplica(replica_id="r1")).accepted
    again = worker.command(stop, command_id="stop-r1")
    assert again.accepted
    assert again.unknown
