"""Every condition that is not met is told with its remedy, before anything is changed."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetform.cli import preflight
from fleetform.errors import SetupError
from fleetform.host import processes, records


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_held_by_a_stranger_is_told_with_pid_and_variable(tmp_path: Path, taken_port: int) -> None:
    with pytest.raises(SetupError, match=rf"port {taken_port} is held by .*pid {os.getpid()}\): .* set FLEETFORM_GATEWAY_PORT"):
        preflight.check_ports({"FLEETFORM_GATEWAY_PORT": taken_port}, tmp_path)


def test_a_port_held_by_a_program_of_ours_is_used(tmp_path: Path, taken_port: int) -> None:
    ourselves = processes.identify(os.getpid())
    assert ourselves is not None
    folder = records.private_directory(tmp_path / "host" / "running")
    records.write_json(folder / "server.json", {"identity": ourselves._asdict()})
    preflight.check_ports({"FLEETFORM_API_PORT": taken_port}, tmp_path)


def test_a_record_of_an_earlier_process_with_the_same_pid_does_not_make_a_port_ours(tmp_path: Path, taken_port: int) -> None:
    ourselves = processes.identify(os.getpid())
    assert ourselves is not None
    folder = records.private_directory(tmp_path / "host" / "running")
    records.write_json(folder / "server.json", {"identity": ourselves._replace(start_ticks=1)._asdict()})
    with pytest.raises(SetupError, match="is held by"):
        preflight.check_ports({"FLEETFORM_API_PORT": taken_port}, tmp_path)


def test_one_port_for_two_programs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="FLEETFORM_API_PORT and FLEETFORM_GATEWAY_PORT name the same port"):
        preflight.check_ports({"FLEETFORM_API_PORT": 7080, "FLEETFORM_GATEWAY_PORT": 7080}, tmp_path)


def test_a_free_port_is_nobodys(taken_port: int) -> None:
    assert preflight.listener(taken_port) == preflight.Holder(os.getpid(), Path("/proc/self/comm").read_text().strip())
    with socket.create_server(("127.0.0.1", 0)) as server:
        freed = server.getsockname()[1]
    assert preflight.listener(freed) is None


def test_too_little_disk_and_memory_are_told_with_figures(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"the models needs 999999999 MiB of disk .* FLEETFORM_HOME"):
        preflight.check_disk(tmp_path / "not" / "there" / "yet", 999_999_999, "the models")
    with pytest.raises(SetupError, match=r"the model needs 999999999 MiB of memory and \d+ MiB are available"):
        preflight.check_memory(999_999_999, "the model")
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize("kind", ["a link", "a file", "open to others"])
def test_a_socket_directory_that_others_could_enter_is_refused(tmp_path: Path, kind: str) -> None:
    run = tmp_path / "run"
    if kind == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        run.symlink_to(tmp_path / "elsewhere")
    elif kind == "a file":
        run.touch(mode=0o700)
    else:
        run.mkdir()
        run.chmod(0o750)
    with pytest.raises(SetupError, match="mode 0700"):
        preflight.check_run_dir(run)


def test_an_absent_socket_directory_is_fine(tmp_path: Path) -> None:
    preflight.check_run_dir(tmp_path / "run")


def test_another_python_is_refused_with_the_ones_that_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    with pytest.raises(SetupError, match=r"this is Python 3\.10; install Python 3\.11, 3\.12 or 3\.13"):
        preflight.check_platform()


def test_it_needs_nothing_that_is_installed() -> None:
    """`make up` imports it before there is an environment."""
    api = Path(preflight.__file__).parents[2]
    code = f"import sys; sys.path.insert(0, {str(api)!r}); from fleetform.cli import preflight; preflight.check_platform()"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, timeout=30)


def test_hosts_that_are_pretended_are_no_machine_to_start_on() -> None:
    preflight.check_driver("local")
    with pytest.raises(SetupError, match="FLEETFORM_DRIVER is 'fake'"):
        preflight.check_driver("fake")
