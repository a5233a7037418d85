"""A worker that dies while engines are put on disk, taken from there and thrown away: nothing is left, and none is had twice."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from fleetform.domain.protocol import HostReplicaState
from fleetform.host import processes
from fleetform.steps import VARIABLE, Step
from tests.harness.crashing import ON_DISK
from tests.harness.waiting import until
from tests.host.icy import IcyMachine
from tests.host.machine import identity_of
from tests.host.test_snapshots import stubs
from tests.host.warm import phases

S = HostReplicaState
FREEZING = (Step.FREEZE_BEFORE, Step.FREEZING, Step.FROZEN, Step.FREEZE_RECORDED)
THAWING = (Step.THAW_CLAIMED, Step.THAW_BEFORE, Step.THAWING, Step.THAWED, Step.THAW_RECORDED, Step.CANARY_BEFORE, Step.CANARY_PASSED)
DISCARDING = (Step.DISCARD_BEFORE, Step.DISCARDED)


def test_a_worker_is_made_to_die_at_every_step_of_snapshots() -> None:
    assert {*FREEZING, *THAWING, *DISCARDING} >= ON_DISK


@pytest.fixture
def mortal(still: IcyMachine) -> IcyMachine:
    """A worker that can be told where to die."""
    still.variables[VARIABLE] = str(still.root / "crash")
    still.start_worker()
    return still


def dies(machine: IcyMachine, at: Step, command: Callable[[], object]) -> None:
    """Send a command that the worker dies of at that step, and start it anew."""
    file: Path = machine.root / "crash"
    file.write_text(at)
    with contextlib.suppress(httpx2.TransportError):
        command()
    until("the worker has died", lambda: not file.exists() and not machine.answers())
    machine.start_worker()


@pytest.mark.parametrize("at", FREEZING)
def test_a_worker_that_dies_while_an_engine_is_put_on_disk(mortal: IcyMachine, at: Step) -> None:
    leader = identity_of(mortal.serves("r1", children=1))
    dies(mortal, at, lambda: mortal.stop_replica("r1", keep_warm=True))
    mortal.await_state(S.EXITED, "r1")
    whole = at in (Step.FREEZE_BEFORE, Step.FREEZE_RECORDED)
    assert [found.engine_id for found in mortal.sleeping()] == (["r1"] if whole else [])
    assert mortal.on_disk() == (["r1"] if whole else [])
    assert processes.group(leader, mortal.root).ours == ()
    assert stubs(mortal) == set()
    assert ("restore" in phases(mortal.serves("r2"))) is whole


def test_an_engine_that_was_being_put_on_disk_is_ended_with_whoever_was_at_it(mortal: IcyMachine) -> None:
    """Another try could put on disk what the first has left half done."""
    leader = identity_of(mortal.serves("r1", children=1))
    mortal.goes_wrong("hangs-dumping")
    file = mortal.root / "crash"
    file.write_text(Step.FREEZING)
    with contextlib.suppress(httpx2.TransportError):
        mortal.stop_replica("r1", keep_warm=True)
    until("the worker has died", lambda: not file.exists() and not mortal.answers())
    assert processes.alive(leader)
    assert programs(mortal)
    mortal.goes_wrong("")
    mortal.start_worker()
    mortal.await_state(S.EXITED, "r1")
    assert programs(mortal) == []
    assert processes.group(leader, mortal.root).ours == ()
    assert mortal.on_disk() == []
    assert "it was being put on disk when the worker died" in mortal.log.read_text()


def programs(machine: IcyMachine) -> list[int]:
    """The pids of CRIU on that machine."""
    words = f"pretended_criu.py\0{machine.programs}\0"
    return [stat.pid for stat in processes.all_stats() if stat.state not in "ZX" and words in read(f"/proc/{stat.pid}/cmdline")]


def read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text()
    return ""


@pytest.mark.parametrize("at", THAWING)
def test_a_worker_that_dies_while_an_engine_is_taken_from_disk(mortal: IcyMachine, at: Step) -> None:
    """Where it is not certain what has become of it, all of it is ended, and the start is a cold one."""
    mortal.serves("r1", children=1)
    mortal.freezes("r1")
    dies(mortal, at, lambda: mortal.begins("r2"))
    after = mortal.await_state(S.SERVING, "r2")
    cut = at in (Step.THAW_BEFORE, Step.THAWING, Step.THAWED)
    assert ("an engine on disk was not restored" in after.message) is cut
    spoke = mortal.ask(after).json()["choices"][0]["message"]["content"]
    assert spoke.startswith("n-r2" if cut else "n-r1")
    assert stubs(mortal) == {member.pid for member in processes.group(identity_of(after), mortal.root).ours}
    assert mortal.sleeping() == ()
    assert mortal.on_disk() == []
    mortal.stop_replica("r2")
    mortal.await_state(S.EXITED, "r2")
    assert stubs(mortal) == set()


@pytest.mark.parametrize("at", [Step.THAW_BEFORE, Step.THAWING, Step.THAWED, Step.THAW_RECORDED])
def test_a_replica_that_is_stopped_while_its_engine_is_taken_from_disk_leaves_nothing(mortal: IcyMachine, at: Step) -> None:
    mortal.serves("r1", children=1)
    mortal.freezes("r1")
    file = mortal.root / "crash"
    file.write_text(f"{at}\n{Step.HOST_RECORD_BEFORE}\n")
    with contextlib.suppress(httpx2.TransportError):
        mortal.begins("r2")
    until("the worker has died", lambda: Step.HOST_RECORD_BEFORE in file.read_text() and not mortal.answers())
    file.unlink()
    mortal.start_worker()
    mortal.stop_replica("r2")
    mortal.await_state(S.EXITED, "r2")
    assert stubs(mortal) == set()
    assert mortal.sleeping() == ()
    assert mortal.on_disk() == []


@pytest.mark.parametrize("at", DISCARDING)
def test_a_worker_that_dies_while_an_engine_is_thrown_away_finishes_it(mortal: IcyMachine, at: Step) -> None:
    mortal.serves("r1")
    mortal.freezes("r1")
    dies(mortal, at, lambda: mortal.command_evict("r1"))
    if at is Step.DISCARD_BEFORE:
        assert [found.engine_id for found in mortal.sleeping()] == ["r1"], "the server asks again"
        mortal.command_evict("r1")
    assert mortal.sleeping() == ()
    assert mortal.on_disk() == []
    assert "restore" not in phases(mortal.serves("r2"))


def test_a_worker_that_was_killed_finds_what_lay_there(mortal: IcyMachine) -> None:
    mortal.serves("r1")
    before = mortal.freezes("r1")
    worker = mortal.worker
    assert worker is not None
    mortal.kill(worker)
    mortal.start_worker()
    assert mortal.sleeping() == (before,)
    assert "restore" in phases(mortal.serves("r2"))
