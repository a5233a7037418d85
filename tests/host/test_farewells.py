"""A stream whose engine dies gets its last event from the host: whole, once, on no other stream, and never beside a living writer."""

import contextlib
import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetform.host.farewells.deposit import CODE, MESSAGE, WHOLE_BYTES
from fleetform.host.pool.control import FORGET
from tests.gateway.processes import end
from tests.harness.farewells import ENDS, SLOWLY, Pair, ask, chunks, events, has_a_box, open_descriptors, packets, rest, until_seen
from tests.harness.waiting import until

LOOKS = 6
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
        own = open_descriptors(engine.pid)
        for _ in range(50):
            ask(connection, max_tokens=3)
            assert until_seen(connection, ENDS).count(b"[DONE]") == 1
        assert open_descriptors(engine.pid) == own
        until("nothing is left with the keeper", lambda: packets(keeper.pid) == 2)


def test_a_client_that_leaves_leaves_nothing_behind(pair: Pair) -> None:
    keeper = pair.keeper()
    engine = pair.engine()
    for _ in range(10):
        with pair.connect() as connection:
            ask(connection, stub_token_delay_s=0.02, max_tokens=50)
            until_seen(connection, b" word5")
    until("nothing is left", lambda: (packets(engine.pid), packets(keeper.pid)) == (1, 2))


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


def _waits(pid: int) -> Callable[[], bool]:
    """True when it has spent no time on a processor since the last times it was asked."""
    seen: list[str] = []

    def look() -> bool:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        seen.append(" ".join(fields[11:13]))
        return len(seen) > LOOKS and len(set(seen[-LOOKS:])) == 1

    return look
