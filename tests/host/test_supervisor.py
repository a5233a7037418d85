"""The supervisor: starts in order, restarts, rescans, rotates, and stops everything."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from fleetform.host import logs, processes
from fleetform.host.children import Child, read_spec
from tests.harness.waiting import until
from tests.host.machine import Machine
from tests.host.supervised import SLEEP, other, record, running


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


def written(folder: Path, name: str, argv: list[str]) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"name": name, "argv": argv, "env": {}, "cwd": str(folder), "log": str(folder / "log")}))
    return path
