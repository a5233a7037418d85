"""The supervisor: starts in order, restarts, adopts, rescans, rotates, and stops everything."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleetform.host import children, logs, processes
from fleetform.host.children import Child, read_spec
from fleetform.host.processes import Identity
from tests.harness.waiting import until
from tests.host.machine import Machine

SLEEP = ["/bin/sleep", "600"]


def test_a_dead_child_is_started_again_with_a_growing_back_off(machine: Machine) -> None:
    machine.write_child("sleeper", SLEEP)
    machine.start_supervisor()
    first = running(machine, "sleeper")
    machine.kill(first)
    second = until("it is started again", lambda: other(machine, "sleeper", first))
    machine.kill(second)
    until("it is started again", lambda: other(machine, "sleeper", second))
    said = machine.log.read_text()
    assert "ended (signal 9); starts again in 0.1 s" in said
    assert "ended (signal 9); starts again in 0.4 s" in said


def test_the_back_off_ends_at_thirty_seconds_and_is_forgotten_after_ten_steady_seconds(tmp_path: Path) -> None:
    spec = read_spec(written(tmp_path, "x", SLEEP))
    assert spec is not None
    child = Child(spec, tmp_path / "record.json")
    waits = []
    for _ in range(6):
        child.started_at = 1000.0
        child.note_end(1001.0)
        waits.append(child.back_off_s)
    assert waits == [0.1, 0.4, 1.6, 6.4, 25.6, 30]
    child.started_at = 2000.0
    child.note_end(2010.0)
    assert child.back_off_s == 0.1
    child.note_end(2030.0)
    assert child.back_off_s == 0.4, "a child that could not even be started has not run steadily"


def test_a_child_waits_for_what_it_needs(machine: Machine) -> None:
    needed = machine.root / "needed"
    machine.write_child("first", SLEEP, order=2)
    machine.write_child("second", SLEEP, order=1, start_after=[str(needed)])
    machine.start_supervisor()
    running(machine, "first")
    assert not record(machine, "second").exists()
    needed.touch()
    running(machine, "second")


def test_a_child_whose_socket_was_removed_is_started_anew(machine: Machine) -> None:
    socket = machine.root / "socket"
    listen = f"import socket, signal; s = socket.socket(socket.AF_UNIX); s.bind({str(socket)!r}); signal.pause()"
    machine.write_child("listener", [sys.executable, "-S", "-c", listen], sockets=[str(socket)])
    supervisor = machine.start_supervisor()
    first = running(machine, "listener")
    until("it listens", socket.exists)
    machine.write_child("witness", SLEEP, order=1)
    processes.send(supervisor, signal.SIGHUP)
    running(machine, "witness")  # so the supervisor has seen the socket
    socket.unlink()
    processes.send(supervisor, signal.SIGHUP)
    until("it is started anew", lambda: other(machine, "listener", first) and socket.exists())
    assert not processes.alive(first)


def test_a_socket_that_a_killed_child_left_is_not_taken_for_its_successors(machine: Machine) -> None:
    """The successor takes its time between removing the old socket and listening on its own; other children die meanwhile."""
    socket, gone = machine.root / "socket", machine.root / "gone"
    listen = f"""
import os, pathlib, signal, socket, time
there = pathlib.Path({str(socket)!r})
time.sleep(0.5)
there.unlink(missing_ok=True)
pathlib.Path({str(gone)!r}).touch()
time.sleep(0.5)
socket.socket(socket.AF_UNIX).bind(str(there))
signal.pause()
"""
    machine.write_child("listener", [sys.executable, "-S", "-c", listen], sockets=[str(socket)])
    machine.write_child("mortal", ["/bin/sh", "-c", "exit 1"], order=1)  # keeps the supervisor looking every tenth of a second
    machine.start_supervisor()
    first = running(machine, "listener")
    until("it listens", socket.exists)
    gone.unlink()
    machine.kill(first)
    second = until("it is started again", lambda: other(machine, "listener", first))
    until("it is about to listen", gone.exists)
    until("it listens", socket.exists)
    assert running(machine, "listener") == second
    assert "its sockets were removed" not in machine.log.read_text()


def test_a_changed_child_that_may_be_exchanged_is_started_beside_the_one_that_runs(machine: Machine) -> None:
    """The next supervisor knows both; an orderly stop ends both; a successor that ends takes the retired one with it."""
    epochs = machine.root / "epochs"

    def write(sleep_s: int) -> None:
        machine.write_child("exchanged", ["/bin/sh", "-c", f"echo {{epoch}} >> {epochs}; exec sleep {sleep_s}"], exchange=True)

    write(600)
    supervisor = machine.start_supervisor()
    first = running(machine, "exchanged")
    write(601)
    processes.send(supervisor, signal.SIGHUP)
    second = until("its successor runs", lambda: other(machine, "exchanged", first))
    assert processes.alive(first)
    machine.kill(supervisor)
    supervisor = machine.start_supervisor()
    assert running(machine, "exchanged") == second
    machine.kill(second)
    third = until("it is started anew", lambda: other(machine, "exchanged", second))
    machine.await_end(first)
    several = [third]
    for sleep_s in (602, 603, 604):
        write(sleep_s)
        processes.send(supervisor, signal.SIGHUP)
        several.append(until("its successor runs", lambda: other(machine, "exchanged", several[-1])))
    assert [processes.alive(each) for each in several] == [False, False, False, True], "with two retired ones it is started alone"
    until("all have started", lambda: epochs.read_text().split() == ["0", "1", "0", "1", "2", "0"])
    write(605)
    processes.send(supervisor, signal.SIGHUP)
    several.append(until("its successor runs", lambda: other(machine, "exchanged", several[-1])))
    processes.send(supervisor, signal.SIGTERM)
    for each in (*several[-2:], supervisor):
        machine.await_end(each)


def test_a_child_changed_while_no_supervisor_ran_is_exchanged_by_the_next(machine: Machine) -> None:
    machine.write_child("exchanged", [*SLEEP[:1], "600"], exchange=True)
    supervisor = machine.start_supervisor()
    first = running(machine, "exchanged")
    machine.kill(supervisor)
    machine.write_child("exchanged", [*SLEEP[:1], "601"], exchange=True)
    machine.start_supervisor()
    until("its successor runs", lambda: other(machine, "exchanged", first))
    assert processes.alive(first)


def test_what_a_dead_successor_had_begun_to_take_over_from_is_ended_by_the_next_supervisor(machine: Machine) -> None:
    """Alone, the next one takes the place that the first has never left."""

    def write(sleep_s: int) -> None:
        machine.write_child("exchanged", [*SLEEP[:1], str(sleep_s)], exchange=True)

    write(600)
    supervisor = machine.start_supervisor()
    first = running(machine, "exchanged")
    write(601)
    processes.send(supervisor, signal.SIGHUP)
    second = until("its successor runs", lambda: other(machine, "exchanged", first))
    machine.kill(supervisor)
    machine.kill(second)
    machine.start_supervisor()
    until("it is started alone", lambda: other(machine, "exchanged", second))
    assert not processes.alive(first)


def test_an_orderly_stop_ends_all_children_in_falling_order(machine: Machine) -> None:
    for order, name in enumerate(("one", "two", "three")):
        machine.write_child(name, SLEEP, order=order)
    supervisor = machine.start_supervisor()
    identities = [running(machine, name) for name in ("one", "two", "three")]
    processes.send(supervisor, signal.SIGTERM)
    machine.await_end(supervisor)
    assert not any(processes.alive(identity) for identity in identities)
    stopped = [line.split("supervisor: ")[1] for line in machine.log.read_text().splitlines() if line.endswith("stopped")]
    assert stopped == ["three: stopped", "two: stopped", "one: stopped", "stopped"]
    assert not record(machine, "one").exists()
    assert not (machine.settings.home / "host" / "supervisor.json").exists()


def test_a_child_that_ignores_its_signal_is_killed_with_its_session(machine: Machine) -> None:
    machine.write_child("stubborn", ["/bin/sh", "-c", 'trap "" TERM; sleep 600 & while :; do sleep 1; done'], stop_timeout_s=0.5)
    supervisor = machine.start_supervisor()
    leader = running(machine, "stubborn")
    until("its child runs", lambda: len(processes.group(leader, machine.root).ours) > 1)
    processes.send(supervisor, signal.SIGTERM)
    machine.await_end(supervisor)
    assert processes.group(leader, machine.root).ours == ()
    assert "stubborn: killed after 0.5 s" in machine.log.read_text()


def test_sighup_starts_stops_and_restarts_what_its_file_says(machine: Machine) -> None:
    machine.write_child("kept", SLEEP)
    machine.write_child("changed", SLEEP)
    gone = machine.write_child("gone", SLEEP)
    supervisor = machine.start_supervisor()
    kept, changed, removed = (running(machine, name) for name in ("kept", "changed", "gone"))
    gone.unlink()
    machine.write_child("changed", ["/bin/sleep", "601"])
    machine.write_child("new", SLEEP)
    processes.send(supervisor, signal.SIGHUP)
    until("the changed one is restarted", lambda: other(machine, "changed", changed))
    running(machine, "new")
    assert processes.alive(kept)
    assert not processes.alive(removed)
    assert not processes.alive(changed)


def test_a_file_that_cannot_be_read_leaves_its_child_as_it_is(machine: Machine) -> None:
    path = machine.write_child("sleeper", SLEEP)
    supervisor = machine.start_supervisor()
    before = running(machine, "sleeper")
    path.write_text("{")
    processes.send(supervisor, signal.SIGHUP)
    until("it is named in the log", lambda: "sleeper.json describes no child" in machine.log.read_text())
    machine.write_child("other", SLEEP)
    processes.send(supervisor, signal.SIGHUP)
    running(machine, "other")
    assert processes.alive(before)


def test_a_killed_supervisor_leaves_its_children_and_the_next_adopts_them(machine: Machine) -> None:
    machine.write_child("sleeper", SLEEP)
    supervisor = machine.start_supervisor()
    before = running(machine, "sleeper")
    machine.kill(supervisor)
    assert processes.alive(before)
    machine.start_supervisor()
    until("it is adopted", lambda: f"sleeper: adopted pid {before.pid}" in machine.log.read_text())
    machine.kill(before)
    until("it is started again", lambda: other(machine, "sleeper", before))


def test_a_child_whose_file_went_while_no_supervisor_ran_is_stopped_by_the_next(machine: Machine) -> None:
    machine.write_child("sleeper", SLEEP)
    spec = machine.settings.home / "host" / "children" / "sleeper.json"
    supervisor = machine.start_supervisor()
    before = running(machine, "sleeper")
    machine.kill(supervisor)
    spec.unlink()
    machine.start_supervisor()
    until("it is stopped", lambda: not processes.alive(before))
    until("its record is gone", lambda: not record(machine, "sleeper").exists())


def test_a_second_supervisor_of_one_home_refuses(machine: Machine) -> None:
    machine.write_child("sleeper", SLEEP)
    first = machine.start_supervisor()
    before = running(machine, "sleeper")
    second = subprocess.run(
        [sys.executable, "-m", "fleetform.host.supervisor"], env=machine.variables, capture_output=True, text=True, timeout=30
    )
    assert second.returncode == 3
    assert "already runs" in second.stderr
    assert processes.alive(first)
    assert processes.alive(before)


def test_a_child_that_cannot_be_executed_is_tried_again(machine: Machine) -> None:
    machine.write_child("broken", ["/no/such/program"])
    machine.start_supervisor()
    until("it is said", lambda: "broken: ended (exit 127); starts again in 0.4 s" in machine.log.read_text())
    assert "cannot start /no/such/program" in machine.log.read_text()


def test_a_disk_that_takes_nothing_ends_neither_the_supervisor_nor_its_care_for_others(machine: Machine) -> None:
    """Not even a line of its own log can be written; one child's log has no place; one file cannot be read."""
    (machine.root / "file").touch()
    machine.write_child("homeless", SLEEP, log=str(machine.root / "file" / "log"))
    machine.write_child("mortal", SLEEP, order=1, log="/dev/null")
    (machine.settings.home / "host" / "children" / "odd.json").mkdir()
    record_ = machine.settings.home / "host" / "supervisor.json"
    with Path("/dev/full").open("wb") as full:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "fleetform.host.supervisor"], env=machine.variables, stdin=subprocess.DEVNULL, stdout=full, stderr=full
        )
    until("it is there", record_.exists)
    (machine.settings.home / "host" / "children" / "odd.json").rmdir()
    first = running(machine, "mortal")
    machine.kill(first)
    until("it is started again", lambda: other(machine, "mortal", first))
    assert supervisor.poll() is None
    supervisor.terminate()
    assert supervisor.wait(15) == 0


@pytest.mark.parametrize(
    "text",
    ['{"identity": 5}', '{"retired": 5}', '{"identity": {"pid": "x"}, "epoch": []}', '{"stop_signal": "SIGODD"}', "[" * 100_000],
)
def test_a_record_that_is_not_its_own_keeps_it_from_nothing(machine: Machine, text: str) -> None:
    """Of a child whose file is there, of one whose file is gone."""
    running_ = machine.settings.home / "host" / "running"
    running_.mkdir(parents=True)
    with subprocess.Popen(SLEEP) as stranger:
        facts = text.replace("}", f', "cwd": 7, "stop_timeout_s": "x", "unread": {stranger.pid}}}')
        for name in ("first", "gone"):
            (running_ / f"{name}.json").write_text(facts)
        machine.write_child("first", SLEEP, order=1)
        machine.write_child("second", SLEEP, order=2)
        supervisor = machine.start_supervisor()
        running(machine, "first")
        running(machine, "second")
        until("what names nobody is removed", lambda: not (running_ / "gone.json").exists())
        assert processes.alive(supervisor)
        stranger.kill()


def test_a_folder_of_files_that_is_gone_stops_nobody(machine: Machine) -> None:
    """Each file says that its child is wanted; without the folder nobody says anything."""
    machine.write_child("sleeper", SLEEP)
    supervisor = machine.start_supervisor()
    first = running(machine, "sleeper")
    children_ = machine.settings.home / "host" / "children"
    children_.rename(children_.with_name("moved"))
    processes.send(supervisor, signal.SIGHUP)
    until("it is said", lambda: "cannot look after everything" in machine.log.read_text())
    assert processes.alive(first)
    machine.kill(first)
    second = until("it is looked after all the same", lambda: other(machine, "sleeper", first))
    children_.with_name("moved").rename(children_)
    (children_ / "sleeper.json").unlink()
    processes.send(supervisor, signal.SIGHUP)
    machine.await_end(second)


def test_its_log_goes_into_no_file_of_its_own_where_whoever_started_it_has_closed_the_standard_descriptors(machine: Machine) -> None:
    machine.write_child("sleeper", SLEEP)
    line = f"exec {sys.executable} -m fleetform.host.supervisor <&- >&- 2>&-"
    with subprocess.Popen(["/bin/sh", "-c", line], env=machine.variables) as supervisor:
        running(machine, "sleeper")
        assert {str(Path(f"/proc/{supervisor.pid}/fd/{number}").readlink()) for number in (0, 1, 2)} == {"/dev/null"}
        supervisor.terminate()


def test_it_imports_nothing_but_the_standard_library() -> None:
    program = """
import sys
import fleetform.host.supervisor
roots = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {"fleetform", "__main__"}
print(sorted(name for name in roots if not name.startswith(("_", "__editable__"))))
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    preloaded = subprocess.run(
        [sys.executable, "-c", program.replace("import fleetform.host.supervisor\n", "")], capture_output=True, text=True
    )
    assert found.stdout == preloaded.stdout


def test_a_log_is_cut_at_its_limit_while_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    writer = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(writer, b"old line\n" * 100)
    assert logs.rotate(log, limit_bytes=100)
    assert not logs.rotate(log, limit_bytes=100)
    assert logs.rotated(log).stat().st_size == 100
    os.write(writer, b"new line\n")
    os.close(writer)
    assert log.read_text() == "new line\n"
    assert logs.tail(log, 3) == ("old line", "old line", "new line")


def running(machine: Machine, name: str) -> Identity:
    """The process of a child, once it is the program that was asked for."""
    return until(f"{name} runs", lambda: other(machine, name, None))


def other(machine: Machine, name: str, old: Identity | None) -> Identity | None:
    identity = children.recorded_identity(record(machine, name))
    if identity is None or identity == old or not processes.alive(identity):
        return None
    return None if b"gate.py" in Path(f"/proc/{identity.pid}/cmdline").read_bytes() else identity


def record(machine: Machine, name: str) -> Path:
    return machine.settings.home / "host" / "running" / f"{name}.json"


def written(folder: Path, name: str, argv: list[str]) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"name": name, "argv": argv, "env": {}, "cwd": str(folder), "log": str(folder / "log")}))
    return path
