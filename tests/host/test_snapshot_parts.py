"""The parts of snapshots, each by itself: shared memory, connections, what two answers have in common, what an engine may not do."""

import asyncio
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import msgspec
import pytest

from fleetform import settings
from fleetform.domain.model import Task
from fleetform.domain.protocol import HostHealth, SleepingEngine
from fleetform.domain.replica import Unix
from fleetform.errors import SetupError
from fleetform.host import gate, probe, processes
from fleetform.host.launcher import launch
from fleetform.host.layout import Layout
from fleetform.host.pool.asking import Refused
from fleetform.host.probe import NotServing
from fleetform.host.record import domain_identity
from fleetform.host.snapshots import criu, freezing, image, shared, thawing
from tests.host.icy import a_frozen

NAME = f"fleetform-test-{os.getpid()}"


@pytest.fixture
def piece() -> Iterator[Path]:
    """A file in shared memory that this process has mapped under a name that is gone; it has two others."""
    first, second, gone = (shared.SHM / f"{NAME}-{end}" for end in ("a", "b", "c"))
    gone.write_bytes(b"x" * mmap.PAGESIZE)
    gone.chmod(0o640)
    with gone.open("r+b") as file, mmap.mmap(file.fileno(), 0):
        first.hardlink_to(gone)
        second.hardlink_to(gone)
        gone.unlink()
        yield first
    for path in (first, second):
        path.unlink(missing_ok=True)


def test_shared_memory_is_set_aside_with_all_its_names_and_put_back(piece: Path, tmp_path: Path) -> None:
    other = piece.with_name(f"{NAME}-b")
    used = shared.used([os.getpid()])
    assert piece.stat().st_ino in used.inodes
    assert f"{NAME}-c" in used.gone
    (made,) = shared.set_aside(frozenset({piece.stat().st_ino}), tmp_path)
    assert made.names == (piece.name, other.name)
    assert not piece.exists()
    assert not other.exists()
    shared.put_back([made], tmp_path)
    assert piece.read_bytes() == b"x" * mmap.PAGESIZE
    assert piece.stat().st_mode & 0o777 == 0o640
    assert other.samefile(piece)
    with pytest.raises(FileExistsError):
        shared.put_back([made], tmp_path)
    ghost = piece.with_name(f"{NAME}-c.cr.1f.ghost")
    ghost.touch()
    shared.remove([made], used.gone)
    assert not ghost.exists()
    assert not piece.exists()
    assert not other.exists()


def test_shared_memory_that_was_not_set_aside_is_forgotten(piece: Path) -> None:
    shared.forget([piece.stat().st_ino])
    assert not piece.exists()
    shared.forget([])


def test_of_an_engine_that_lives_only_the_names_go_that_an_ended_criu_has_given(piece: Path, tmp_path: Path) -> None:
    links = [piece.with_name(f"{shared.OF_CRIU}{NAME}-{number}") for number in range(2)]
    links[0].hardlink_to(piece)
    links[1].touch()
    with subprocess.Popen(["true"]) as ended:
        maker = processes.identify(ended.pid)
    leader = processes.identify(os.getpid())
    assert maker is not None
    assert leader is not None
    making = image.Making(maker=domain_identity(maker), leader=domain_identity(leader), inodes=(piece.stat().st_ino,))
    image.begin(tmp_path / "r1")
    image.put_making(tmp_path / "r1", making)
    image.abandon(tmp_path / "r1")
    assert not links[0].exists()
    assert piece.exists()
    links[1].unlink()  # another's


@pytest.mark.anyio
async def test_whoever_is_connected_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "QUIET_S", 0.2)
    path = str(tmp_path / "a socket")
    address = Unix(path=path)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client, socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(bytes(tmp_path) + b"/\xff")  # whose name need not be text
        listener.bind(path)
        listener.listen()
        await freezing._until_quiet(address)
        client.connect(path)
        with listener.accept()[0], pytest.raises(Refused, match="still connected"):
            await freezing._until_quiet(address)
        await freezing._until_quiet(address)


@pytest.mark.anyio
async def test_whoever_stops_a_start_does_not_wait_for_all_of_a_large_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the command to stop its replica does, and with it all other commands of this host."""
    layout = Layout(settings.load({"FLEETFORM_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path)}))
    folder = layout.snapshot("r1")
    image.begin(folder)
    with (image.images(folder) / "pages.img").open("wb") as file:
        file.truncate(1 << 43)
    reached = asyncio.Event()

    async def never(*_: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(freezing, "ran", never)
    work = layout.work("r1")
    work.mkdir()
    thaws = asyncio.create_task(thawing.thaw(layout, criu.Criu("/bin/true", "4.0"), a_frozen(), 60, lambda _: None))
    await reached.wait()
    thaws.cancel()
    await asyncio.wait({thaws}, timeout=10)
    assert thaws.cancelled(), "it does not read eight tebibytes to their end"


def test_what_is_half_back_is_ended_and_nobody_else(tmp_path: Path) -> None:
    """By its pid and by where it works: somebody who has come to either is a stranger."""
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    work.mkdir()
    elsewhere.mkdir()
    half, stranger, visitor = (subprocess.Popen(["/bin/sleep", "60"], cwd=where) for where in (work, elsewhere, work))
    try:
        thawing.end_half_back(a_frozen(pids=(half.pid, stranger.pid)), work)
        assert half.wait(10) == -signal.SIGKILL
        assert stranger.poll() is None
        assert visitor.poll() is None
    finally:
        for process in (half, stranger, visitor):
            process.kill()
            process.wait()


def answering(body: object, status: int = 200) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _: httpx2.Response(status, json=body)), base_url="http://engine")


@pytest.mark.anyio
async def test_the_same_answer_is_the_same() -> None:
    text = answering({"choices": [{"text": "over the dog"}]})
    said = await probe.answer(text, "m", Task.GENERATE)
    await probe.check_answer(text, "m", Task.GENERATE, said)
    with pytest.raises(NotServing, match="otherwise"):
        await probe.check_answer(answering({"choices": [{"text": "over the cat"}]}), "m", Task.GENERATE, said)
    numbers = await probe.answer(answering({"data": [{"embedding": [0.12349, 1]}]}), "m", Task.EMBED)
    assert numbers == "[0.123, 1.0]"


@pytest.mark.anyio
@pytest.mark.parametrize(("body", "status"), [({}, 200), ({"choices": []}, 200), ({"choices": [{"text": "x"}]}, 500)])
async def test_what_is_no_answer_is_none(body: object, status: int) -> None:
    with pytest.raises(NotServing):
        await probe.answer(answering(body, status), "m", Task.GENERATE)


TRIES = """
import ctypes, json, os
libc = ctypes.CDLL(None, use_errno=True)
made = libc.syscall(425, 1, ctypes.create_string_buffer(120))
print(json.dumps([made, ctypes.get_errno(), os.strerror(ctypes.get_errno())]), flush=True)
"""


@pytest.mark.parametrize("mode", [gate.CONFINED, gate.SNAPSHOT])
def test_what_may_be_put_on_disk_gets_no_io_uring(tmp_path: Path, mode: str) -> None:
    log = tmp_path / "log"
    found = launch([sys.executable, "-c", TRIES], dict(os.environ), tmp_path, log, lambda _: None, mode=mode)
    os.waitpid(found.pid, 0)
    made, number, _ = json.loads(log.read_text())
    if mode == gate.SNAPSHOT:
        assert (made, number) == (-1, gate.ENOSYS)
    else:
        assert (made, number) != (-1, gate.ENOSYS) or not _kernel_has_it()


def _kernel_has_it() -> bool:
    return subprocess.run([sys.executable, "-c", TRIES], capture_output=True, text=True, check=True).stdout.split(",")[1].strip() != "38"


def test_the_machine_is_told_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    one = criu.Criu("/bin/true", "Version: 4.2")
    before = criu.machine(one)
    assert criu.machine(one) == before
    assert criu.machine(one._replace(version="Version: 4.3")) != before
    monkeypatch.setattr(criu, "boot_id", lambda: "another")
    assert criu.machine(one) != before


def test_why_a_machine_cannot_is_said_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(criu, "PLACES", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert asyncio.run(criu.find(has_devices=False)) == "criu is not installed"
    program = tmp_path / "criu"
    program.write_text("#!/bin/sh\necho 'Error (x.c:1): no'\necho after; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert asyncio.run(criu.find(has_devices=False)) == "criu needs root"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert asyncio.run(criu.find(has_devices=False)) == "criu cannot checkpoint here: Error (x.c:1): no"


def test_room_is_set_in_mib_and_is_none_by_default(tmp_path: Path) -> None:
    home = {"FLEETFORM_HOME": str(tmp_path)}
    assert settings.load(home).snapshots_mib == 0
    assert settings.load({**home, "FLEETFORM_SNAPSHOTS_MIB": "20000"}).snapshots_mib == 20000
    with pytest.raises(SetupError, match="FLEETFORM_SNAPSHOTS_MIB is 'on'"):
        settings.load({**home, "FLEETFORM_SNAPSHOTS_MIB": "on"})


def test_a_host_that_knows_no_snapshots_is_understood() -> None:
    assert msgspec.json.decode(b'{"status": "ok"}', type=HostHealth).snapshots == ""
    older = {
        "engine_id": "r1",
        "project": "p",
        "endpoint": "e",
        "endpoint_uid": "u",
        "track_id": "t",
        "model_version": "m:v1",
        "devices": [],
        "since": "2026-01-01T00:00:00Z",
        "memory_mib": 1,
    }
    assert msgspec.convert(older, SleepingEngine).disk_mib == 0
