"""Starting, taking over and ending a machine's programs, with small stand-ins for the programs."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetform import settings
from fleetform.cli import down, preflight, supervision, up
from fleetform.errors import SetupError
from fleetform.host import gate, processes, records
from fleetform.settings import Settings
from tests.harness.waiting import until

STAY = "import signal; signal.pause()"


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Settings]:
    """A prepared home; whatever still lives of it is ended afterwards."""
    found = settings.load({"FLEETFORM_HOME": str(tmp_path / "home"), "FLEETFORM_API_PORT": "1", "FLEETFORM_GATEWAY_PORT": "2"})
    supervision.prepare_directories(found)
    yield found
    living = supervision.supervisor(found)
    if living is not None:
        processes.send(living, signal.SIGKILL)
    for identity in preflight.running(found.home).values():
        processes.send(identity, signal.SIGKILL)
    shutil.rmtree(found.run, ignore_errors=True)


def write_child(ours: Settings, name: str, *, word: str = "", code: str = STAY) -> None:
    spec = {
        "name": name,
        "argv": [sys.executable, "-c", code, word],
        "env": {},
        "cwd": str(ours.home),
        "log": str(ours.home / "logs" / f"{name}.log"),
        "stop_timeout_s": 5,
    }
    records.write_json(records.private_directory(ours.home / "host" / "children") / f"{name}.json", spec)


def started(ours: Settings, *names: str) -> dict[str, processes.Identity]:
    """The programs, once all of them run: until then each waits for its supervisor, and ends with it."""
    supervision.rescan_or_start(ours)
    until(f"{names} run", lambda: set(names) <= {name for name, found in preflight.running(ours.home).items() if not waits(found)})
    return preflight.running(ours.home)


def waits(program: processes.Identity) -> bool:
    return gate.__file__.encode() in Path(f"/proc/{program.pid}/cmdline").read_bytes()


def test_a_second_start_takes_over_and_a_changed_program_alone_is_restarted(ours: Settings) -> None:
    write_child(ours, "one")
    write_child(ours, "two")
    first = started(ours, "one", "two")
    assert started(ours, "one", "two") == first
    write_child(ours, "two", word="changed")
    supervision.rescan_or_start(ours)
    until("two is another process", lambda: preflight.running(ours.home).get("two", first["two"]) != first["two"])
    assert preflight.running(ours.home)["one"] == first["one"]


def test_programs_of_a_killed_supervisor_are_taken_over(ours: Settings) -> None:
    write_child(ours, "one")
    first = started(ours, "one")
    living = supervision.supervisor(ours)
    assert living is not None
    os.kill(living.pid, signal.SIGKILL)
    until("the supervisor is gone", lambda: supervision.supervisor(ours) is None)
    assert started(ours, "one") == first
    assert supervision.supervisor(ours) not in (None, living)


def test_what_changed_while_no_supervisor_ran_is_started_anew(ours: Settings) -> None:
    write_child(ours, "one")
    write_child(ours, "two")
    first = started(ours, "one", "two")
    living = supervision.supervisor(ours)
    assert living is not None
    os.kill(living.pid, signal.SIGKILL)
    until("the supervisor is gone", lambda: supervision.supervisor(ours) is None)
    write_child(ours, "two", word="changed")
    supervision.rescan_or_start(ours)
    until("two is another process", lambda: preflight.running(ours.home).get("two", first["two"]) != first["two"])
    assert preflight.running(ours.home)["one"] == first["one"]
    assert not processes.alive(first["two"])


def test_down_ends_also_what_no_file_tells_of_any_more(ours: Settings) -> None:
    write_child(ours, "forgotten")
    running = started(ours, "forgotten")
    living = supervision.supervisor(ours)
    assert living is not None
    os.kill(living.pid, signal.SIGKILL)
    until("the supervisor is gone", lambda: supervision.supervisor(ours) is None)
    records.remove(ours.home / "host" / "children" / "forgotten.json")
    down.stop_everything(ours)
    assert not processes.alive(running["forgotten"])


def test_one_program_can_be_stopped_for_good(ours: Settings) -> None:
    write_child(ours, "one")
    write_child(ours, "two")
    first = started(ours, "one", "two")
    supervision.stop_child(ours, "two")
    assert preflight.running(ours.home) == {"one": first["one"]}


@pytest.mark.parametrize("supervisor_dead", [False, True], ids=["supervisor alive", "supervisor killed"])
def test_down_leaves_no_process_and_no_socket(ours: Settings, supervisor_dead: bool) -> None:
    write_child(ours, "server")
    write_child(ours, "stubborn", code="import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()")
    (ours.run / "left.sock").touch()
    running = started(ours, "server", "stubborn")
    living = supervision.supervisor(ours)
    assert living is not None
    if supervisor_dead:
        os.kill(living.pid, signal.SIGKILL)
        until("the supervisor is gone", lambda: supervision.supervisor(ours) is None)
    assert down.runs(ours)
    down.stop_everything(ours)
    assert not any(processes.alive(identity) for identity in (*running.values(), living))
    assert not ours.run.exists()
    assert not down.runs(ours)


def test_where_nothing_runs_down_says_so_and_makes_nothing(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("fleetform")), "down"]
    home = tmp_path / "never"
    done = subprocess.run(command, env={"FLEETFORM_HOME": str(home)}, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    assert done.returncode == 0
    assert done.stdout == f"Nothing of {home} runs.\n"
    assert not home.exists()


def test_the_first_shell_decides_where_the_sockets_are(ours: Settings) -> None:
    other = settings.load({"FLEETFORM_HOME": str(ours.home), "XDG_RUNTIME_DIR": "/run/user/0"})
    assert other.run == ours.run


def test_a_socket_directory_that_cannot_be_again_is_chosen_anew(ours: Settings) -> None:
    link = ours.home / "run"
    link.unlink()
    link.symlink_to("/run/user/gone/ff-1")
    found = settings.load({"FLEETFORM_HOME": str(ours.home)})
    assert found.run == ours.run
    supervision.prepare_directories(found)
    assert link.readlink() == ours.run


def test_a_start_that_fails_names_the_program_that_does_not_run(ours: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "READY_TIMEOUT_S", 0.2)
    write_child(ours, "postgres")
    started(ours, "postgres")
    (ours.home / "logs" / "worker.log").write_text("ImportError: no such thing\n")
    with pytest.raises(SetupError, match=r"the worker does not run after 0 s; the end of its log:\n +ImportError: no such thing"):
        up.wait_ready(ours)
