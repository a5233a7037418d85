"""Who keeps the last events of streams may hang, die, be full, be told nonsense and come late; and counts what it says."""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fleetform.domain.machine import EngineSpec
from fleetform.domain.replica import Unix
from fleetform.gateway.windows import WindowStore
from fleetform.host.farewells import deposit as deposit_module
from fleetform.host.farewells import keeper as keeper_module
from fleetform.host.farewells.counted import counter
from fleetform.host.farewells.deposit import CODE, SOCKET, Line
from fleetform.host.farewells.keeper import Keeper
from fleetform.host.worker import DESCRIPTORS
from tests.gateway.processes import end
from tests.harness.farewells import ENDS, ENGINE, SLOWLY, Pair, ask, chunks, events, has_a_box, open_descriptors, rest, until_seen
from tests.harness.waiting import until
from tests.host.machine import Machine, identity_of

STREAMS = 400


def test_a_keeper_that_hangs_keeps_nothing_open_that_the_engine_closes(pair: Pair) -> None:
    """Its share of a box is no share of the connection."""
    keeper = pair.keeper()
    engine = pair.engine()
    with pair.connect() as connection:
        ask(connection, stub_token_delay_s=0.02, max_tokens=30)
        until_seen(connection, b" word5")
        keeper.send_signal(signal.SIGSTOP)
        until_seen(connection, ENDS)
        end(engine, signal.SIGKILL)
        assert rest(connection) == b""


def test_a_keeper_that_hangs_delays_no_token(pair: Pair) -> None:
    keeper = pair.keeper()
    pair.engine()
    with pair.connect() as connection:
        ask(connection, max_tokens=1)
        until_seen(connection, ENDS)
        keeper.send_signal(signal.SIGSTOP)
        for _ in range(1000):
            ask(connection, max_tokens=1)
            until_seen(connection, ENDS)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_next_keeper_is_given_what_is_under_way(pair: Pair, how: signal.Signals) -> None:
    keeper = pair.keeper()
    engine = pair.engine()
    with pair.connect() as connection:
        ask(connection, **SLOWLY)
        answer = until_seen(connection, b" word5")
        end(keeper, how)
        keeper = pair.keeper()
        until("it has the box", lambda: has_a_box(keeper.pid))
        end(engine, signal.SIGKILL)
        assert "error" in events(answer + rest(connection))[-1]


def test_without_a_keeper_a_death_cuts(pair: Pair) -> None:
    engine = pair.engine()
    with pair.connect() as connection:
        ask(connection, **SLOWLY)
        answer = until_seen(connection, b" word5")
        end(engine, signal.SIGKILL)
        found, is_whole = chunks(answer + rest(connection))
    assert not is_whole
    assert b"error" not in b"".join(found)


def test_above_the_bound_streams_are_cut_and_below_it_they_are_not(pair: Pair) -> None:
    pair.keeper(most=4)
    engine = pair.engine()
    with contextlib.ExitStack() as open_:
        asked = [open_.enter_context(pair.connect()) for _ in range(5)]
        answers = []
        for connection in asked:
            ask(connection, **SLOWLY)
            answers.append(until_seen(connection, b" word5"))
        end(engine, signal.SIGKILL)
        whole = [chunks(answer + rest(connection))[1] for answer, connection in zip(answers, asked, strict=True)]
    assert whole == [True, True, False, False, False]


@pytest.mark.anyio
async def test_a_message_that_is_none_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptors that are no sockets, more than the words name, and fewer; what came before on that line is given back."""
    monkeypatch.setattr(keeper_module, "LEAVE_S", 0.01)
    keeper = Keeper(tmp_path / SOCKET, lambda _: lambda _: None)
    keeper.start()
    before = open_descriptors(os.getpid())
    ours, theirs = socket.socketpair()
    with ours, theirs, (tmp_path / "file").open("w") as file:
        one, no_socket = ours.fileno(), file.fileno()
        for words, descriptors in (
            (b"+2+3", [one, no_socket]),
            (b"+2", [no_socket, one]),
            (b"+2", [one, one]),
            (b"+2+3", [one]),
            (b"-1", [one]),
            (b"+a", [one]),
            (b"?", []),
        ):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
                line.connect(str(tmp_path / SOCKET))
                ourselves = os.pidfd_open(os.getpid())
                socket.send_fds(line, [str(tmp_path / "e.sock").encode()], [ourselves])
                os.close(ourselves)
                socket.send_fds(line, [b"+1"], [one])
                socket.send_fds(line, [words], descriptors)
                line.shutdown(socket.SHUT_WR)
                line.setblocking(False)
                assert await asyncio.get_running_loop().sock_recv(line, 1) == b""
    assert open_descriptors(os.getpid()) == before
    await keeper.stop()


@pytest.mark.parametrize("how", ["killed", "cut by its host"])
def test_the_worker_says_it_for_its_engine_and_counts_it(worker: Machine, how: str) -> None:
    """Cut by its host: it is told to end, and killed because a stream of it does not."""
    words = ["--socket", "{socket}", "--served-name", "{served_name}", "--instance", "{instance}"]
    replica = worker.serving(engine=EngineSpec(argv=[sys.executable, str(ENGINE), *words]))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(40)
        connection.connect(getattr(replica.address, "path", ""))
        ask(connection, max_tokens=500, stub_stall_after=9)
        answer = until_seen(connection, b" word9")
        if how == "killed":
            worker.kill(identity_of(replica))
        else:
            worker.stop_replica()
        *before, last = events(answer + rest(connection))
    assert len(before) == 10
    assert last["error"]["code"] == CODE
    since = (datetime.now(UTC) - timedelta(minutes=2)).isoformat()
    tracks = until("it is counted", lambda: worker.call("GET", "/v1/gateway/windows", key="acme/chat", since=since).json()["tracks"])
    (track,) = tracks
    assert (track["track"], track.get("errors", 0), track.get("aborts", 0)) == ("v1.00000000", how == "killed", how != "killed")


@pytest.mark.anyio
async def test_a_keeper_that_cannot_listen_tries_again_and_keeps_nobody_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "PAUSE_S", 0.01)
    keeper = Keeper(tmp_path / "run" / SOCKET, lambda _: lambda _: None)
    keeper.start()
    (tmp_path / "run").mkdir()
    async with asyncio.timeout(10):
        while not (tmp_path / "run" / SOCKET).is_socket():
            await asyncio.sleep(0.01)
    await keeper.stop()
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.anyio
async def test_a_keeper_that_comes_late_is_given_more_streams_than_fit_into_its_line_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line holds 278 messages, and while the engine speaks, as here, nobody may be reading them."""
    monkeypatch.setattr(deposit_module, "RETRY_S", 0.01)
    line, keeper = Line(), Keeper(tmp_path / SOCKET, lambda _: lambda _: None, most=1000)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for _ in range(STREAMS):
            assert line.deposit(ours.fileno(), str(tmp_path / "e.sock"), b"tail")
        keeper.start()
        async with asyncio.timeout(1.5):
            while keeper.held != 2 + STREAMS:
                await asyncio.sleep(0.01)
        line.close()
        await keeper.stop()


@pytest.mark.parametrize("is_leaving", [False, True])
def test_what_is_said_is_counted_for_the_track_once(is_leaving: bool) -> None:
    """A stream that the host cuts because its replica leaves says nothing against its version, and broke off all the same."""
    start = SimpleNamespace(track=SimpleNamespace(track_id="v1.aaaaaaaa"))
    record: dict[str, Any] = {"start": start, "route_key": "p1/m", "address": Unix(path="/r.sock")}
    past = SimpleNamespace(exited=True, record=SimpleNamespace(**{**record, "route_key": "p1/past"}, drain_until=None))
    drain_until = datetime.now(UTC) if is_leaving else None
    now = SimpleNamespace(exited=False, record=SimpleNamespace(**record, drain_until=drain_until))
    store = WindowStore()
    whose = counter(cast("Any", SimpleNamespace(replicas={"past": past, "now": now})), store)
    whose("/r.sock")(3)
    whose("/another.sock")(5)
    (track,) = store.read("p1/m", datetime.now(UTC).timestamp() - 60, datetime.now(UTC).timestamp() + 5).tracks
    assert (track.track, track.requests, track.errors, track.aborts) == ("v1.aaaaaaaa", 0, 0 if is_leaving else 3, 3 if is_leaving else 0)


def test_a_worker_may_open_as_much_as_the_machine_lets_it(machine: Machine) -> None:
    """A quarter of it is for streams, and most shells and services begin with 1,024."""
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, most))
    try:
        worker = machine.start_worker()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (usual, most))
    assert resource.prlimit(worker.pid, resource.RLIMIT_NOFILE) == (min(most, DESCRIPTORS), most)
