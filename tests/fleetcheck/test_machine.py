"""What fleetcheck sees of a machine: also what nobody is to remember any more."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetform import settings as configuration
from fleetform.domain.protocol import HostReplicaState
from fleetform.domain.replica import ProcessIdentity
from fleetform.fleetcheck import machine
from fleetform.fleetcheck.checks import verdicts
from fleetform.fleetcheck.facts import Facts, Machine, Rows
from fleetform.host import processes, record, records
from fleetform.host.layout import Layout
from fleetform.host.record import ReplicaRecord
from fleetform.settings import Settings
from tests.builders import a_start_command

pytestmark = pytest.mark.anyio
IDLE = "print('up', flush=True); import signal; signal.pause()"


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with tempfile.TemporaryDirectory(prefix="ff-", dir="/tmp") as run:  # as short as sockets need it
        found = configuration.load({"FLEETFORM_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": run})
        records.write_json(Layout(found).devices, {"host": "host-1"})
        yield found


class Orphan:
    """A process in that directory with those variables, until the test is over."""

    def __init__(self, cwd: Path, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", IDLE], cwd=cwd, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n"

    @property
    def pid(self) -> int:
        return self.process.pid


@pytest.fixture
def orphans() -> Iterator[list[Orphan]]:
    made: list[Orphan] = []
    yield made
    for orphan in made:
        orphan.process.kill()
        orphan.process.communicate()


async def seen(settings: Settings) -> Machine:
    found = await machine.read(settings, ("canary",))
    assert found is not None
    return found


def of_i2(found: Machine) -> list[str]:
    (broken,) = (verdict.broken for verdict in verdicts(Facts(rows=Rows(), machine=found)) if verdict.invariant == "I2")
    return [one.message for one in broken]


async def test_an_engine_that_lives_on_in_a_folder_that_was_removed_is_seen(settings: Settings, orphans: list[Orphan]) -> None:
    work = records.private_directory(Layout(settings).work("r1"))
    orphans.append(Orphan(work, {}))
    shutil.rmtree(work)
    found = await seen(settings)
    assert [(session.replica_id, session.pids) for session in found.sessions] == [("r1", (orphans[0].pid,))]
    assert of_i2(found) == [f"engine processes {orphans[0].pid} run without a record on this host"]


async def test_what_carries_the_mark_of_an_engine_that_is_forgotten_is_seen(settings: Settings, orphans: list[Orphan]) -> None:
    orphans.append(Orphan(Path("/"), {"TMPDIR": str(Layout(settings).scratch("r1"))}))
    orphans.append(Orphan(Path("/"), {"TMPDIR": "/tmp/r-0123456789ab.d"}))  # of another home, or nobody's
    found = await seen(settings)
    assert [(session.replica_id, session.pids) for session in found.sessions] == [("", (orphans[0].pid,))]
    assert of_i2(found) == [f"engine processes {orphans[0].pid} run without a record on this host"]


def a_stopping_record(settings: Settings, drained_s: float, noted_s: float | None, boot_id: str) -> None:
    """One whose process is gone. drained_s: since when it would have been drained at the latest. noted_s: since when its end is noted."""
    layout = Layout(settings)
    gone = ProcessIdentity(boot_id=processes.boot_id(), pid_namespace=processes.pid_namespace(), pid=2**22, start_ticks=7, session_id=2**22)
    drain_until = datetime.now(UTC) - timedelta(seconds=drained_s)
    stopping = ReplicaRecord(start=a_start_command("r1"), state=HostReplicaState.STOPPING, process=gone, drain_until=drain_until)
    record.save(layout, stopping)
    if noted_s is not None:
        note = {"status": "exit 0", "boot_id": boot_id or gone.boot_id, "at": time.time() - noted_s}
        records.write_json(layout.exits / f"{gone.pid}-{gone.start_ticks}.json", note)


@pytest.mark.parametrize(
    ("drained_s", "noted_s", "boot_id", "ending"),
    [
        (-300, None, "", True),
        (30, None, "", True),
        (60, None, "", False),
        (-300, 600, "", False),
        (-300, 600, "another", True),
        (600, 0, "", True),
    ],
)
async def test_what_is_being_stopped_is_given_the_time_that_its_device_may_take(
    settings: Settings, drained_s: float, noted_s: float | None, boot_id: str, ending: bool
) -> None:
    a_stopping_record(settings, drained_s, noted_s, boot_id)
    (found,) = (await seen(settings)).records
    assert (found.alive, found.ending) == (False, ending)


async def test_a_canary_is_found_in_older_lines_too(settings: Settings) -> None:
    logs = records.private_directory(settings.home / "logs")
    (logs / "server.log").write_text("fine\n")
    (logs / "server.log.1").write_text("the canary\n")
    assert (await seen(settings)).showing == ("server.log.1:-1",)


async def test_a_line_of_the_access_log_that_is_no_object_is_passed_over(settings: Settings) -> None:
    records.private_directory(settings.access_log.parent)
    settings.access_log.write_text('17\nnull\n{"request_id": "a", "status": 200}\n')
    assert [line.request_id for line in (await seen(settings)).access_log] == ["a"]
