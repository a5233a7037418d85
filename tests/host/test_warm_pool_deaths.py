"""A worker, or its machine, that dies while engines fall asleep, sleep, wake and are ended: nothing is lost, nothing is left."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from fleetform.domain.protocol import HostReplicaState
from fleetform.host import processes, records
from fleetform.steps import VARIABLE, Step
from tests.harness.crashing import ASLEEP
from tests.harness.waiting import until
from tests.host.machine import identity_of
from tests.host.warm import WarmMachine, phases, worker_of

S = HostReplicaState
FALLING = (Step.SLEEP_BEFORE, Step.SLEPT, Step.SLEEPER_RECORDED, Step.DRAINED)
WAKING = (Step.WAKE_CLAIMED, Step.WAKE_BEFORE, Step.WOKEN, Step.CANARY_BEFORE, Step.CANARY_PASSED)
ENDING = (Step.EVICT_BEFORE, Step.EVICT_GROUP_GONE, Step.EVICTED)


def test_a_worker_is_made_to_die_at_every_step_of_the_pool() -> None:
    assert {*FALLING, *WAKING, *ENDING} >= {step for step in ASLEEP if step.startswith("host.")}


def armed(machine: WarmMachine, at: Step) -> Path:
    """Let the worker end itself at that step from now on."""
    file = machine.root / "crash"
    file.write_text(at)
    return file


@pytest.fixture
def mortal(idle: WarmMachine) -> WarmMachine:
    """A worker that can be told where to die."""
    idle.variables[VARIABLE] = str(idle.root / "crash")
    idle.start_worker()
    return idle


def asked(command: Callable[[], object]) -> None:
    """Send a command that the worker may die of before it answers."""
    with contextlib.suppress(httpx2.TransportError):
        command()


def died(machine: WarmMachine, file: Path) -> None:
    until("the worker has died", lambda: not file.exists() and not machine.answers())
    machine.start_worker()


@pytest.mark.parametrize("at", FALLING)
def test_a_worker_that_dies_while_an_engine_falls_asleep_finishes_it(mortal: WarmMachine, at: Step) -> None:
    leader = identity_of(mortal.serves("r1", children=1))
    file = armed(mortal, at)
    asked(lambda: mortal.stop_replica("r1", keep_warm=True))
    died(mortal, file)
    mortal.await_state(S.EXITED, "r1")
    assert [found.engine_id for found in mortal.sleeping()] == ["r1"]
    assert identity_of(mortal.serves("r2")) == leader


@pytest.mark.parametrize("at", WAKING)
def test_a_worker_that_dies_while_an_engine_wakes_finishes_it(mortal: WarmMachine, at: Step) -> None:
    leader = identity_of(mortal.serves("r1", children=1))
    mortal.falls_asleep("r1")
    file = armed(mortal, at)
    asked(lambda: mortal.begins("r2"))
    died(mortal, file)
    after = mortal.await_state(S.SERVING, "r2")
    assert mortal.sleeping() == ()
    if at is Step.WAKE_CLAIMED:  # nothing was written yet: what slept is found again
        assert "wake" in phases(after)
    assert identity_of(after) == leader
    mortal.stop_replica("r2")
    mortal.await_state(S.EXITED, "r2")
    assert processes.group(leader, mortal.root).ours == ()


@pytest.mark.parametrize("at", ENDING)
def test_a_worker_that_dies_while_a_sleeping_engine_is_ended_finishes_it(mortal: WarmMachine, at: Step) -> None:
    leader = identity_of(mortal.serves("r1", children=1))
    mortal.falls_asleep("r1")
    file = armed(mortal, at)
    asked(lambda: mortal.command_evict("r1"))
    died(mortal, file)
    until("nobody sleeps", lambda: not mortal.sleeping())
    assert processes.group(leader, mortal.root).ours == ()
    assert not (mortal.settings.home / "host" / "sleeping" / "r1.json").exists()
    assert "wake" not in phases(mortal.serves("r2"))


def test_a_replica_that_is_stopped_while_it_wakes_leaves_nothing(mortal: WarmMachine) -> None:
    leader = identity_of(mortal.serves("r1", children=1))
    mortal.falls_asleep("r1")
    file = armed(mortal, Step.WAKE_BEFORE)
    asked(lambda: mortal.begins("r2"))
    died(mortal, file)
    mortal.stop_replica("r2")
    mortal.await_state(S.EXITED, "r2")
    assert processes.group(leader, mortal.root).ours == ()
    assert mortal.sleeping() == ()


def test_a_worker_that_was_killed_finds_what_slept(warm: WarmMachine) -> None:
    leader = identity_of(warm.serves("r1"))
    before = warm.falls_asleep("r1")
    warm.kill(worker_of(warm))
    warm.start_worker()
    assert warm.sleeping() == (before,)
    assert identity_of(warm.serves("r2")) == leader


def test_after_a_reboot_nobody_sleeps(warm: WarmMachine) -> None:
    leader = identity_of(warm.serves("r1"))
    warm.falls_asleep("r1")
    warm.kill(worker_of(warm))
    file = warm.settings.home / "host" / "sleeping" / "r1.json"
    kept = records.read_json(file)
    assert kept is not None
    kept["process"]["boot_id"] = "another"
    records.write_json(file, kept)
    warm.start_worker()
    until("nobody sleeps", lambda: warm.sleeping() == ())
    assert processes.alive(leader), "a process of this boot is not the one of the record"
