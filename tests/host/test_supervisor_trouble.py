"""What goes wrong around a supervisor ends neither it nor its care for the others."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleetform.host import processes
from tests.harness.waiting import until
from tests.host.machine import Machine
from tests.host.supervised import SLEEP, other, running


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
