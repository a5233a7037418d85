"""A stream whose engine dies gets its last event from the host: whole, once, on no other stream, and never beside a living writer."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
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
from fleetform.host.farewells.deposit import CODE, MESSAGE, SOCKET, WHOLE_BYTES, Line
from fleetform.host.farewells.keeper import Keeper
from fleetform.host.pool.control import FORGET
from tests.gateway.processes import end
from tests.harness.farewells import ENGINE, Pair, ask, chunks, events, has_a_box, packets, rest, until_seen
from tests.harness.waiting import until
from tests.host.machine import Machine, identity_of

SLOWLY: dict[str, Any] = {"stub_token_delay_s": 0.02, "max_tokens": 500}
ENDS = b"0\r\n\r\n"
LOOKS = 6
STREAMS = 400


@pytest.fixture
def pair() -> Iterator[Pair]:
    with tempfile.TemporaryDirectory(prefix="ff-fw-") as folder:
        made = Pair(Path(folder))
        try:
            yield made
        finally:
            for process in made.processes:
                process.send_signal(signal.SIGCONT)
                end(process, signal.SIGKILL)


SERVERS = [("httptools", "uvloop"), ("httptools", "asyncio"), ("h11", "uvloop"), ("h11", "asyncio")]


@pytest.mark.parametrize(("http", "loop"), SERVERS)
@pytest.mark.parametrize("seen", ["data: ", " word20"], ids=["after the head", "in the middle"])
def test_a_stream_of_an_engine_that_is_killed_ends_with_a_typed_error(pair: Pair, http: str, loop: str, seen: str) -> None:
    keeper = pair.keeper()
    engine = pair.engine(http=http, loop=loop)
    with pair.connect() as connection:
        ask(connection, **SLOWLY)
        answer = until_seen(connection, seen.encode())
        until("the keeper has its box", lambda: has_a_box(keeper.pid))
        end(engine, signal.SIGKILL)
        *before, last = events(answer + rest(connection))
    texts = [event["choices"][0]["delta"]["content"] for event in before]
    assert texts == ["e", *(f" word{number}" for number in range(1, len(texts)))], "in order, and none twice"
    assert last == {"error": {"message": MESSAGE, "type": "server_error", "param": None, "code": CODE}}
    until("it is counted", lambda: pair.told() == 1)


def test_the_responses_api_has_its_own_form(pair: Pair) -> None:
    pair.keeper()
    engine = pair.engine()
    with pair.connect() as connection:
        ask(connection, "/v1/responses", stub_token_delay_s=0.02, max_output_tokens=500)
        answer = until_seen(connection, b" word9")
        end(engine, signal.SIGKILL)
        answer += rest(connection)
    *before, last = events(answer)
    assert b"\n\nevent: error\ndata: " in b"".join(chunks(answer)[0])
    assert (last["type"], last["code"], last["message"], last["param"]) == ("error", CODE, MESSAGE, None)
    assert last["sequence_number"] > max(event["sequence_number"] for event in before)


def test_only_what_is_under_way_is_ended_and_each_once(pair: Pair) -> None:
    pair.keeper()
    engine = pair.engine()
    with contextlib.ExitStack() as open_:
        asked = [open_.enter_context(pair.connect()) for _ in range(20)]
        over, plain, silent = (open_.enter_context(pair.connect()) for _ in range(3))
        ask(over, max_tokens=3)
        assert chunks(until_seen(over, ENDS))[1]
        ask(plain, stream=False)
        until_seen(plain, b"}")
        answers = []
        for connection in asked:
            ask(connection, **SLOWLY)
        for connection in asked:
            answers.append(until_seen(connection, b" word5"))
        end(engine, signal.SIGKILL)
        for answer, connection in zip(answers, asked, strict=True):
            found = events(answer + rest(connection))
            assert [event for event in found if "error" in event] == found[-1:]
        assert [rest(connection) for connection in (over, plain, silent)] == [b"", b"", b""]
    until("they are counted", lambda: pair.told() == 20)


def test_a_stream_that_is_over_leaves_nothing_behind_and_its_connection_goes_on(pair: Pair) -> None:
    keeper = pair.keeper()
    engine = pair.engine()
    with pair.connect() as connection:
        ask(connection, max_tokens=3)
        until_seen(connection, ENDS)
        own = _open(engine.pid)
        for _ in range(50):
            ask(connection, max_tokens=3)
            assert until_seen(connection, ENDS).count(b"[DONE]") == 1
        assert _open(engine.pid) == own
        until("nothing is left with the keeper", lambda: packets(keeper.pid) == 2)


def test_a_client_that_leaves_leaves_nothing_behind(pair: Pair) -> None:
    keeper = pair.keeper()
    engine = pair.engine()
    for _ in range(10):
        with pair.connect() as connection:
            ask(connection, stub_token_delay_s=0.02, max_tokens=50)
            until_seen(connection, b" word5")
    until("nothing is left", lambda: (packets(engine.pid), packets(keeper.pid)) == (1, 2))


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


def test_an_engine_that_is_to_sleep_or_to_lie_on_disk_is_connected_to_nobody(pair: Pair) -> None:
    """CRIU puts no process on disk that is; the next stream opens the line anew."""
    pair.keeper()
    engine = pair.engine()
    with pair.connect() as connection:
        for _ in range(2):
            ask(connection, max_tokens=3)
            until_seen(connection, ENDS)
            assert packets(engine.pid) == 1
            connection.sendall(f"POST {FORGET} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode())
            until_seen(connection, b"cannot sleep")
            assert packets(engine.pid) == 0


def test_an_engine_that_lets_go_and_lives_is_not_spoken_for(pair: Pair) -> None:
    """Also with a stream under way, which then goes on to its own end."""
    pair.keeper()
    pair.engine()
    with pair.connect() as connection, pair.connect() as other:
        ask(connection, stub_token_delay_s=0.02, max_tokens=100)
        answer = until_seen(connection, b" word5")
        other.sendall(f"POST {FORGET} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode())
        until_seen(other, b"cannot sleep")
        answer += until_seen(connection, ENDS)
    found, is_whole = chunks(answer)
    assert is_whole
    assert (len(found), found[-1]) == (101, b"data: [DONE]\n\n")


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


@pytest.mark.parametrize("padding", [100, 3_000, 30_000, 60_000])
@pytest.mark.parametrize(("http", "loop"), [("httptools", "uvloop"), ("h11", "asyncio")])
def test_a_reader_that_does_not_read_sees_no_garbage(pair: Pair, padding: int, http: str, loop: str) -> None:
    """The engine is stopped by back-pressure, and killed: all that comes are whole events, the last one perhaps, or a cut one."""
    pair.keeper()
    engine = pair.engine(http=http, loop=loop)
    with pair.connect() as connection:
        ask(connection, max_tokens=5000, stub_padding=padding)
        until("the engine waits", _waits(engine.pid))
        end(engine, signal.SIGKILL)
        found, is_whole = chunks(rest(connection))
    for number, event in enumerate(found[: -1 if is_whole else None]):
        assert json.loads(event.removeprefix(b"data: "))["choices"][0]["delta"]["content"] == (f" word{number}" if number else "e")
        assert event.endswith(b"\n\n")
    assert is_whole == (b'data: {"error"' in b"".join(found))


def test_a_reader_that_is_behind_gets_the_last_event_once_there_is_room(pair: Pair) -> None:
    """The socket is full, and some words wait in the engine: they are lost with it, and what follows them is said."""
    pair.keeper()
    engine = pair.engine()
    with pair.connect() as connection:
        ask(connection, max_tokens=5000, stub_stall_after=190, stub_padding=100)
        until("the engine waits", _waits(engine.pid))
        end(engine, signal.SIGKILL)
        *before, last = events(rest(connection))
    assert 0 < len(before) <= 191
    assert last["error"]["code"] == CODE


def test_what_is_said_is_counted_at_once_whoever_else_has_no_room_for_it(pair: Pair) -> None:
    pair.keeper()
    engine = pair.engine()
    with pair.connect() as behind, pair.connect() as reading:
        ask(behind, max_tokens=5000, stub_stall_after=190, stub_padding=100)
        ask(reading, max_tokens=5000, stub_stall_after=9)
        answer = until_seen(reading, b" word9")
        until("the engine waits", _waits(engine.pid))
        end(engine, signal.SIGKILL)
        assert events(answer + rest(reading))[-1]["error"]["code"] == CODE
        until("it is counted", lambda: pair.told() == 1)
        assert events(rest(behind))[-1]["error"]["code"] == CODE
    until("both are", lambda: pair.told() == 2)


@pytest.mark.anyio
async def test_a_message_that_is_none_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptors that are no sockets, more than the words name, and fewer; what came before on that line is given back."""
    monkeypatch.setattr(keeper_module, "LEAVE_S", 0.01)
    keeper = Keeper(tmp_path / SOCKET, lambda _: lambda _: None)
    keeper.start()
    before = _open(os.getpid())
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
    assert _open(os.getpid()) == before
    await keeper.stop()


def test_a_unix_socket_takes_a_small_write_whole_or_not_at_all() -> None:
    """What `WHOLE_BYTES` relies on, on this kernel: however full the socket is, and however the reader has read."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        taken = 0
        for pieces in (1, 777, 5_000, 33_333, WHOLE_BYTES) * 200:
            with contextlib.suppress(BlockingIOError):
                while True:
                    assert ours.send(b"x" * WHOLE_BYTES) == WHOLE_BYTES
                    taken += 1
            theirs.recv(pieces)
    assert taken > 200


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


def _open(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _waits(pid: int) -> Callable[[], bool]:
    """True when it has spent no time on a processor since the last times it was asked."""
    seen: list[str] = []

    def look() -> bool:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        seen.append(" ".join(fields[11:13]))
        return len(seen) > LOOKS and len(set(seen[-LOOKS:])) == 1

    return look
