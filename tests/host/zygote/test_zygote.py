"""The zygote's promises, with real processes and a pretended engine: recorded before it runs, its own session, plain when it cannot be."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from fleetform.host import exits, gate, processes, records
from fleetform.host.processes import Identity
from fleetform.host.zygote import client
from fleetform.host.zygote.client import NotForked
from tests.harness.waiting import until


class Home:
    """One zygote, as the supervisor starts it, and what is forked from it. All of it is ended on exit."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.socket = root / "zygote.sock"
        self.exits = records.private_directory(root / "exits")
        self.record = root / "zygote.json"
        self.work = records.private_directory(root / "work")
        self.log = root / "engine.log"
        self.software = root / "software"
        self.software.mkdir()
        (self.software / "pretended_software.py").write_text("")
        self.started: list[subprocess.Popen[bytes]] = []
        self.forked: list[Identity] = []

    def start(self, said_to: IO[bytes] | None = None, **variables: str) -> Identity:
        """Start a zygote and wait until it listens. said_to: where its own words go."""
        path = os.pathsep.join([str(Path(__file__).parents[3]), str(self.software)])
        words = [sys.executable, "-m", "fleetform.host.zygote", str(self.socket), str(self.exits), "tests.host.zygote.pretended"]
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": path, **variables}
        began = subprocess.Popen(words, env=env, cwd=self.root, stdin=subprocess.DEVNULL, stderr=said_to, start_new_session=True)
        self.started.append(began)
        identity = processes.identify(began.pid)
        assert identity is not None
        records.write_json(self.record, {"identity": identity._asdict()})
        until("the zygote listens", lambda: self.unready(0) == "")
        return identity

    def unready(self, wait_s: float) -> str:
        return asyncio.run(client.unready(self.socket, self.record, wait_s))

    def fork(self, *argv: str, env: dict[str, str] | None = None) -> Identity:
        """Fork an engine; its record is whatever `forked` holds by then."""
        environment = env or {"PATH": os.environ["PATH"]}
        return client.fork(self.socket, ("module", *argv), environment, self.work, self.log, self.forked.append)

    def facts(self) -> dict[str, Any]:
        """How the engine says it was started."""
        path = self.work / "facts.json"
        until("the engine has begun", path.exists)
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def end(self) -> None:
        for identity in self.forked:
            processes.end_group(identity, self.work, 0, signal.SIGKILL)
        for began in self.started:
            began.kill()
            began.wait()


@pytest.fixture
def home() -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="ffz-", dir="/tmp") as root, contextlib.ExitStack() as stack:
        made = Home(Path(root))
        stack.callback(made.end)
        yield made


def test_an_engine_gets_what_a_plain_start_gives_it_and_nothing_of_the_zygote(home: Home) -> None:
    zygote = home.start(ZYGOTES_OWN="1")
    env = {"PATH": "/bin", "TMPDIR": str(home.root), "SHARE": "7"}
    identity = home.fork("--flag", env=env)
    facts = home.facts()
    assert facts["pid"] == facts["session"] == identity.pid == identity.session_id
    assert facts["parent"] == zygote.pid
    assert facts["cwd"] == str(home.work)
    assert facts["argv"] == ["module", "--flag"]
    assert facts["environ"] == env
    assert facts["tempdir"] == str(home.root)
    assert (facts["core"], facts["umask"]) == (0, 0o077)
    assert "NoNewPrivs:\t1" in facts["status"]
    assert not [name for name in facts["descriptors"] if name.startswith(("socket:", "pipe:"))]
    until("its output is in its log", lambda: "hello from the engine" in home.log.read_text())


def test_engines_do_not_draw_the_same_random_numbers(home: Home) -> None:
    home.start()
    home.fork()
    first = home.facts()["random"]
    (home.work / "facts.json").unlink()
    home.fork()
    assert home.facts()["random"] != first


def test_it_does_not_run_before_its_record_is_on_disk(home: Home) -> None:
    home.start()
    seen: list[bool] = []

    def record(identity: Identity) -> None:
        home.forked.append(identity)
        seen.append(processes.alive(identity) and not (home.work / "facts.json").exists())

    client.fork(home.socket, ("module",), {}, home.work, home.log, record)
    home.facts()
    assert seen == [True]


def test_without_a_record_nothing_runs(home: Home) -> None:
    home.start()
    held: list[Identity] = []

    def disk_full(identity: Identity) -> None:
        held.append(identity)
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        client.fork(home.socket, ("module",), {}, home.work, home.log, disk_full)
    assert asyncio.run(exits.ended(held[0], home.exits)).code == gate.NOT_OPENED
    assert not (home.work / "facts.json").exists()


def test_how_an_engine_ended_is_written_down(home: Home) -> None:
    home.start()
    assert asyncio.run(exits.ended(home.fork("exit", "7"), home.exits)) == exits.Exit(code=7)
    killed = home.fork()
    home.facts()
    processes.send(killed, signal.SIGKILL)
    assert asyncio.run(exits.ended(killed, home.exits)) == exits.Exit(code=137, signal=9)


def test_engines_outlive_the_zygote_and_the_next_one_takes_its_place(home: Home) -> None:
    zygote = home.start()
    first = home.fork()
    home.facts()
    processes.send(zygote, signal.SIGKILL)
    home.started[0].wait()
    assert processes.alive(first)
    assert home.unready(0) == "no zygote runs"
    with pytest.raises(NotForked, match="does not answer"):
        home.fork()
    home.start()
    assert processes.alive(home.fork())
    assert processes.alive(first)


def test_one_that_still_imports_is_waited_for_and_not_for_ever(home: Home) -> None:
    me = processes.identify(os.getpid())
    assert me is not None
    records.write_json(home.record, {"identity": me._asdict()})
    assert home.unready(0.2) == "the zygote was still importing after 0.2 s"


@pytest.mark.parametrize(
    ("pretended", "why"),
    [
        ("refuse", "it is a Monday"),
        ("raise", "importing the engine failed: ImportError: no such thing"),
        ("thread", r"the zygote runs 2 threads (.*, .*)"),
    ],
)
def test_a_zygote_that_must_not_fork_says_why_and_stays(home: Home, pretended: str, why: str) -> None:
    zygote = home.start(PRETENDED=pretended)
    for _ in range(2):
        with pytest.raises(NotForked, match=why):
            home.fork()
    assert processes.alive(zygote)


@pytest.mark.parametrize("change", ["another file", "another package"])
def test_new_software_on_disk_is_imported_by_a_new_zygote(home: Home, change: str) -> None:
    home.start()
    home.fork()
    if change == "another file":
        (home.software / "pretended_software.py").write_text("VERSION = 2")
    else:
        (home.software / "something-1.0.dist-info").mkdir()
    with pytest.raises(NotForked, match="the software on disk has changed"):
        home.fork()
    assert home.started[0].wait(timeout=10) == 0
    assert processes.alive(home.forked[0])


def test_a_stranger_who_talks_nonsense_does_not_hold_it_up(home: Home) -> None:
    home.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as odd:
        silent.connect(str(home.socket))
        odd.connect(str(home.socket))
        odd.send(b'{"argv": 1}')
        assert processes.alive(home.fork())
        assert b"refused" in odd.recv(1000)


def test_the_socket_is_its_users_alone(home: Home) -> None:
    home.start()
    assert home.socket.stat().st_mode & 0o777 == 0o600


def test_arguments_beyond_a_message_are_refused_before_anything_is_forked(home: Home) -> None:
    home.start()
    with pytest.raises(NotForked, match="the limit is"):
        home.fork("x" * 300_000)


def test_what_left_the_session_of_a_forked_engine_is_found_and_strangers_are_not(home: Home) -> None:
    home.start()
    leader = home.fork("stray")
    home.facts()
    until("the fork has left", lambda: len(_children(leader)) == 1 and _children(leader)[0].session_id != leader.session_id)
    stray = _children(leader)[0]
    stranger = subprocess.Popen(["sleep", "100"], cwd=home.work, start_new_session=True)
    try:
        processes.end_strays(leader, home.work, f"TMPDIR={home.root}/nobodys")
        assert not processes.alive(stray)
        assert stranger.poll() is None
        assert processes.alive(leader)
    finally:
        stranger.kill()
        stranger.wait()


def _children(parent: Identity) -> list[Identity]:
    found = (processes.identify(stat.pid) for stat in processes.all_stats() if stat.parent == parent.pid)
    return [identity for identity in found if identity is not None]


def test_a_full_disk_ends_no_zygote(home: Home) -> None:
    with Path("/dev/full").open("wb") as full:
        home.start(said_to=full)
    home.fork()
    home.facts()
