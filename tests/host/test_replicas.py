"""The life of a replica: serving, ending, and each way of failing at the start."""

import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fleetform.domain.machine import EngineSpec
from fleetform.domain.protocol import HostReplicaState
from fleetform.domain.replica import FailureReason, Loopback, Unix
from fleetform.host import processes
from tests.harness.waiting import until
from tests.host.machine import STUB_ARGV, Machine, identity_of

S = HostReplicaState


def test_a_replica_serves_and_is_stopped(worker: Machine) -> None:
    replica = worker.serving()
    assert isinstance(replica.address, Unix)
    answer = worker.ask(replica)
    assert answer.json()["choices"][0]["message"]["content"].startswith("n-r1")
    assert {phase.name for phase in replica.phases} >= {"fetch", "launch", "canary"}
    assert all(phase.ended_at is not None for phase in replica.phases)
    leader = identity_of(replica)
    worker.stop_replica()
    gone = worker.await_state(S.EXITED)
    assert (gone.exit_code, gone.failure) == (0, None)
    assert not processes.alive(leader)
    assert not Path(replica.address.path).exists()


def test_an_engine_starts_where_somebody_has_removed_what_takes_room(worker: Machine) -> None:
    for folder in ("logs", "cache", "host/commands", "host/exits"):
        shutil.rmtree(worker.settings.home / folder)
    worker.serving()
    assert worker.log_lines()
    worker.stop_replica()
    worker.await_state(S.EXITED)


def test_a_request_under_way_is_finished_before_the_engine_ends(worker: Machine) -> None:
    replica = worker.serving()
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(worker.ask, replica, stub_delay_s=1.0)
        until("the engine has the request", lambda: worker.log_lines().count("a request began") == 2)  # the first was the canary
        worker.stop_replica()  # no proxy runs here: the engine's own grace is what is left
        assert under_way.result().json()["choices"][0]["finish_reason"] == "stop"
    assert worker.await_state(S.EXITED).exit_code == 0


def test_a_forgotten_replica_is_gone_from_the_report_and_its_log_is_kept(worker: Machine) -> None:
    worker.serving()
    assert not worker.forget_replica().accepted
    worker.stop_replica()
    since = worker.await_state(S.EXITED).seq
    assert worker.forget_replica().accepted
    report = worker.report(since)
    assert report.removed == ("r1",)
    assert worker.report().replicas == ()
    assert "stub engine is ready" in worker.log_lines()


def test_an_engine_that_crashes_at_start_tells_its_last_lines_without_secrets(worker: Machine) -> None:
    worker.start_replica(mode="crash")
    failed = worker.await_state(S.EXITED)
    assert failed.failure is FailureReason.CRASHED
    assert failed.exit_code == 3
    assert failed.log_tail[-1] == "ValueError: the weights do not fit this architecture"
    assert len(failed.log_tail) == 50
    assert not any("abcdefghijklmnop" in line for line in failed.log_tail)


def test_an_engine_that_cannot_be_executed_is_a_crash_that_names_it(worker: Machine) -> None:
    worker.start_replica(engine=EngineSpec(argv=["/no/such/engine", "{socket}"]))
    failed = worker.await_state(S.EXITED)
    assert failed.failure is FailureReason.CRASHED
    assert "/no/such/engine" in failed.log_tail[-1]


def test_an_engine_that_hangs_at_start_is_ended(worker: Machine) -> None:
    worker.start_replica(mode="hang", start_timeout_s=1, children=1)
    starting = worker.await_state(S.STARTING)
    failed = worker.await_state(S.EXITED)
    assert failed.failure is FailureReason.START_TIMEOUT
    leader = identity_of(starting if starting.members[0].process else failed)
    assert processes.group(leader, worker.root).ours == ()


def test_an_engine_on_a_port_serves(worker: Machine) -> None:
    argv = [word.replace("--socket", "--port").replace("{socket}", "{port}") for word in STUB_ARGV]
    replica = worker.serving(engine=EngineSpec(argv=argv, listen="port"))
    assert isinstance(replica.address, Loopback)
    assert worker.ask(replica).status_code == 200


def test_a_raw_engine_is_asked_for_its_health_alone(worker: Machine) -> None:
    replica = worker.serving(engine=EngineSpec(argv=STUB_ARGV, routes="raw", health_path="/ping"), mode="wrong-model")
    assert "canary" not in {phase.name for phase in replica.phases}


def test_an_engine_that_dies_while_serving_is_reported_within_ten_seconds_with_its_children(worker: Machine) -> None:
    replica = worker.serving(children=2)
    leader = identity_of(replica)
    assert len(processes.group(leader, worker.root).ours) == 3
    killed_at = time.monotonic()
    processes.send(leader, signal.SIGKILL)
    failed = worker.await_state(S.EXITED)
    assert time.monotonic() - killed_at < 10
    assert failed.failure is FailureReason.CRASHED
    assert failed.exit_code == 137
    # Children that outlived their parent are gone before the replica is called exited.
    assert processes.group(leader, worker.root).ours == ()
    assert processes.group(leader, worker.root).doubtful == ()


def test_an_engine_whose_socket_was_removed_is_ended_and_reported(worker: Machine) -> None:
    replica = worker.serving()
    assert isinstance(replica.address, Unix)
    Path(replica.address.path).unlink()
    failed = worker.await_state(S.EXITED)
    assert (failed.failure, failed.message) == (FailureReason.CRASHED, "the engine's socket was removed")
    assert not processes.alive(identity_of(replica))


def test_what_an_engine_sent_into_a_session_of_its_own_ends_with_it(worker: Machine) -> None:
    argv = ["/bin/sh", "-c", 'cd / && setsid sleep 600 & echo stray $!; exec "$@"', "sh", *STUB_ARGV]
    leader = identity_of(worker.serving(engine=EngineSpec(argv=argv)))
    (line,) = [line for line in worker.log_lines() if line.startswith("stray ")]
    stray = processes.identify(int(line.split()[1]))
    assert stray is not None
    assert stray.session_id != leader.session_id
    processes.send(leader, signal.SIGKILL)
    worker.await_state(S.EXITED)
    assert not processes.alive(stray)


def test_a_socket_left_by_a_dead_engine_is_no_obstacle(worker: Machine) -> None:
    replica = worker.serving("r1", crash_after_s=0)
    processes.send(identity_of(replica), signal.SIGKILL)
    worker.await_state(S.EXITED)
    assert isinstance(replica.address, Unix)
    Path(replica.address.path).touch()
    worker.forget_replica()
    again = worker.serving()
    assert again.address == replica.address


def test_a_missing_artifact_fails_the_replica_with_its_reason(worker: Machine) -> None:
    command = worker.start_replica("r1", mode="hang", start_timeout_s=60)
    worker.await_state(S.STARTING)
    config = Path(command.track.artifact.removeprefix("file://")) / "config.json"
    config.write_text('{"name": "changed"}')
    for blob in worker.settings.home.glob("cache/**/*"):
        if blob.is_file() and blob.suffix != ".lock":
            blob.unlink()
    worker.stop_replica()
    worker.await_state(S.EXITED)
    worker.forget_replica()
    worker.command(command)
    failed = worker.await_state(S.EXITED)
    assert failed.failure is FailureReason.DIGEST_MISMATCH
    assert "config.json" in failed.message


def test_a_replica_that_is_stopped_while_it_starts_ends(worker: Machine) -> None:
    worker.start_replica(mode="hang")
    worker.await_state(S.STARTING)
    until("the engine runs", lambda: worker.replica().members[0].process is not None)
    worker.stop_replica(drain_timeout_s=300)
    gone = worker.await_state(S.EXITED)
    assert gone.failure is None


def test_an_engine_sees_no_secret_of_the_worker(machine: Machine) -> None:
    machine.variables |= {"FLEETFORM_TOKEN": "cd-secret", "AWS_SECRET_ACCESS_KEY": "s3-secret", "HTTPS_PROXY": "http://proxy"}
    machine.start_worker()
    replica = machine.serving()
    environment = Path(f"/proc/{identity_of(replica).pid}/environ").read_bytes()
    for name in (b"FLEETFORM", b"AWS", b"PROXY", b"secret"):
        assert name not in environment
    limits = Path(f"/proc/{identity_of(replica).pid}/limits").read_text()
    assert [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core")] == [["0", "0"]]


def test_children_that_ignore_the_end_of_their_parent_are_killed(worker: Machine) -> None:
    replica = worker.serving(children=1, stubborn_children=True)
    leader = identity_of(replica)
    processes.send(leader, signal.SIGKILL)
    worker.await_state(S.EXITED, timeout_s=40)
    assert processes.group(leader, worker.root).ours == ()
