"""What the next supervisor finds, and children that are exchanged for their successors."""

import signal
import subprocess
import sys
from collections.abc import Callable

from fleetform.host import processes
from fleetform.host.processes import Identity
from tests.harness.waiting import until
from tests.host.machine import Machine
from tests.host.supervised import SLEEP, other, record, running


def exchanged_once(machine: Machine, write: Callable[[int], None]) -> tuple[Identity, Identity, Identity]:
    """The supervisor, the retired child, and its successor. write: the child's file, with how long it sleeps."""
    write(600)
    supervisor = machine.start_supervisor()
    first = running(machine, "exchanged")
    write(601)
    processes.send(supervisor, signal.SIGHUP)
    return supervisor, first, until("its successor runs", lambda: other(machine, "exchanged", first))


def test_a_changed_child_that_may_be_exchanged_is_started_beside_the_one_that_runs(machine: Machine) -> None:
    """The next supervisor knows both; an orderly stop ends both; a successor that ends takes the retired one with it."""
    epochs = machine.root / "epochs"

    def write(sleep_s: int) -> None:
        machine.write_child("exchanged", ["/bin/sh", "-c", f"echo {{epoch}} >> {epochs}; exec sleep {sleep_s}"], exchange=True)

    supervisor, first, second = exchanged_once(machine, write)
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

    supervisor, first, second = exchanged_once(machine, write)
    machine.kill(supervisor)
    machine.kill(second)
    machine.start_supervisor()
    until("it is started alone", lambda: other(machine, "exchanged", second))
    assert not processes.alive(first)


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
