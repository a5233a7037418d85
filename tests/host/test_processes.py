"""Identity, signals and groups: only the very process that was meant is ever reached."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from fleetform.host import processes
from fleetform.host.launcher import launch
from fleetform.host.processes import Identity, alive, end_group, group, identify, send
from tests.harness.waiting import until

PARENT = """
import os, signal, sys
for number in range(int(sys.argv[1])):
    if os.fork() == 0:
        if sys.argv[2] == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("child", flush=True)
        signal.pause()
print("parent", flush=True)
signal.pause()
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A directory for a session; whatever still works in it afterwards is killed."""
    yield tmp_path
    for stat in processes.all_stats():
        try:
            if Path(f"/proc/{stat.pid}/cwd").readlink() == tmp_path:
                os.kill(stat.pid, signal.SIGKILL)
        except OSError:
            continue


def session(home: Path, children: int = 0, kind: str = "obedient") -> Identity:
    """A session with its leader and so many children, all of them running."""
    argv = [sys.executable, "-S", "-c", PARENT, str(children), kind]
    leader = launch(argv, {}, home, home / "log", lambda identity: None)
    until("all of them run", lambda: (home / "log").read_text().count("\n") == children + 1)
    return leader


def reap(identity: Identity) -> None:
    os.waitpid(identity.pid, 0)


def test_a_zombie_is_dead() -> None:
    child = subprocess.Popen(["/bin/true"])
    identity = identify(child.pid)
    assert identity is not None
    until("it is a zombie", lambda: (found := processes.read_stat(child.pid)) is not None and found.state == "Z")
    assert not alive(identity)
    child.wait()
    assert identify(child.pid) is None


@pytest.mark.parametrize("change", [{"start_ticks": 1}, {"boot_id": "another"}, {"pid_namespace": 1}])
def test_a_process_that_only_has_the_pid_is_never_signalled(change: dict[str, Any]) -> None:
    child = subprocess.Popen(["/bin/sleep", "60"])
    try:
        real = identify(child.pid)
        assert real is not None
        other = real._replace(**change)
        assert not alive(other)
        assert not send(other, signal.SIGKILL)
        assert group(other, Path("/")) == processes.Group()
        assert alive(real)
    finally:
        child.kill()
        child.wait()


def test_a_command_name_with_parentheses_is_read(tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(program), "60"])
    try:
        stat = processes.read_stat(child.pid)
        assert stat is not None
        assert stat.parent == os.getpid()
    finally:
        child.kill()
        child.wait()


def test_a_command_name_that_is_no_text_is_read(tmp_path: Path) -> None:
    """Whoever has such a process, perhaps by a name that was cut in the middle of a letter, keeps nobody from looking at all others."""
    program = tmp_path / os.fsdecode(b"\xffodd")
    program.symlink_to("/bin/true")
    child = subprocess.Popen([program])
    try:
        until("it has ended", lambda: Path(f"/proc/{child.pid}/stat").read_bytes().split(b") ")[1][:1] == b"Z")
        found = next(stat for stat in processes.all_stats() if stat.pid == child.pid)
        identity = identify(child.pid)
        assert identity is not None
        assert (found.parent, found.state, processes.exit_status(identity)) == (os.getpid(), "Z", 0)
    finally:
        child.wait()


def test_a_group_ends_with_its_leader(home: Path) -> None:
    leader = session(home, children=2)
    assert len(group(leader, home).ours) == 3
    assert end_group(leader, home, grace_s=10)
    assert group(leader, home).ours == ()
    reap(leader)


def test_children_of_a_dead_leader_are_known_by_where_they_work(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    leader = session(home, children=2)
    send(leader, signal.SIGKILL)
    reap(leader)
    assert len(group(leader, home).ours) == 2
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert group(leader, elsewhere).ours == ()
    assert len(group(leader, elsewhere).doubtful) == 2
    end_group(leader, elsewhere, grace_s=0)
    assert len(group(leader, home).ours) == 2
    end_group(leader, home, grace_s=0)
    assert group(leader, home).ours == ()


def test_a_stubborn_group_is_killed(home: Path) -> None:
    leader = session(home, children=1, kind="stubborn")
    began = time.monotonic()
    assert end_group(leader, home, grace_s=20)  # the leader itself obeys
    assert group(leader, home).ours == ()
    assert time.monotonic() - began < 10
    reap(leader)


def test_a_group_of_more_processes_than_we_may_have_descriptors_is_ended(home: Path) -> None:
    leader = session(home, children=2 * processes.WAITED_FOR_AT_ONCE, kind="stubborn")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + processes.WAITED_FOR_AT_ONCE + 10, hard))
    try:
        end_group(leader, home, grace_s=5)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert group(leader, home).ours == ()
    reap(leader)


def test_each_of_many_is_waited_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "WAITED_FOR_AT_ONCE", 1)
    gone, leader = session(home), session(home)
    send(gone, signal.SIGKILL)
    began = time.monotonic()
    processes.wait_for_all((gone, leader), 0.2)
    assert time.monotonic() - began >= 0.2, "one of them lives"
    end_group(leader, home, grace_s=5)
    for each in (gone, leader):
        reap(each)


def test_a_stopped_leader_is_killed_after_the_grace(home: Path) -> None:
    leader = session(home)
    send(leader, signal.SIGSTOP)
    until("it is stopped", lambda: (stat := processes.read_stat(leader.pid)) is not None and stat.state == "T")
    assert not end_group(leader, home, grace_s=0.2)
    assert not alive(leader)
    reap(leader)


def test_nothing_runs_when_its_record_cannot_be_written(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    seen: list[Identity] = []

    def full(identity: Identity) -> None:
        seen.append(identity)
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        launch(["/bin/touch", str(mark)], {}, tmp_path, tmp_path / "log", full)
    assert not alive(seen[0])
    assert not mark.exists()


def test_nothing_runs_when_the_parent_dies_before_the_record(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    program = f"""
import os
from pathlib import Path
from fleetform.host.launcher import launch
def die(identity):
    Path({str(tmp_path / "pid")!r}).write_text(str(identity.pid))
    os._exit(0)
launch(["/bin/touch", {str(mark)!r}], {{}}, Path({str(tmp_path)!r}), Path({str(tmp_path / "log")!r}), die)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    pid = int((tmp_path / "pid").read_text())
    until("the gate closed", lambda: (stat := processes.read_stat(pid)) is None or stat.state == "Z")
    assert not mark.exists()


def test_a_program_that_cannot_be_held_leaves_no_descriptor(tmp_path: Path) -> None:
    """A supervisor tries a broken child again every half minute, for months."""
    before = set(Path("/proc/self/fd").iterdir())
    with pytest.raises(OSError, match="No such file"):
        launch(["/bin/true"], {}, tmp_path, tmp_path / "missing" / "log", lambda identity: None)
    assert set(Path("/proc/self/fd").iterdir()) == before


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM])
def test_a_process_that_cannot_be_looked_at_is_not_said_to_be_gone(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    me = identify(os.getpid())
    assert me is not None
    monkeypatch.setattr(os, "pidfd_open", mock.Mock(side_effect=OSError(number, os.strerror(number))))
    with pytest.raises(OSError, match=os.strerror(number)):
        processes.open_pidfd(me)


def test_a_process_whose_number_has_become_a_threads_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    me = identify(os.getpid())
    assert me is not None
    monkeypatch.setattr(os, "pidfd_open", mock.Mock(side_effect=OSError(errno.EINVAL, os.strerror(errno.EINVAL))))
    assert processes.open_pidfd(me) is None


def test_processes_that_proc_hides_are_passed_over(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc may be mounted so that other users' processes may not be read (hidepid=1)."""
    leader = session(home, children=1)
    read_bytes = Path.read_bytes

    def hidden(path: Path) -> bytes:
        if path == Path("/proc/1/stat"):
            raise PermissionError
        return read_bytes(path)

    with monkeypatch.context() as hides:
        hides.setattr(Path, "read_bytes", hidden)
        assert processes.read_stat(1) is None
        assert len(group(leader, home).ours) == 2
    end_group(leader, home, grace_s=5)
    reap(leader)
