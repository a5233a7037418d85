"""Row 43: a client that leaves, in whatever way and whether it streams or waits, costs the engine at most another second."""

import json
import socket
import struct
import time

import pytest

from tests.gateway.stack import Gateway, a_route, a_track
from tests.harness.waiting import until

pytestmark = pytest.mark.envoy
ABANDONED = "a request was abandoned"


def leave_by_close(connection: socket.socket) -> None:
    connection.close()


def leave_by_reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def leave_by_half_close(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("leave", [leave_by_close, leave_by_reset, leave_by_half_close])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
def test_row_43_the_engine_stops_within_a_second(own_gateway: Gateway, leave: object, stream: bool) -> None:
    stub = own_gateway.stub("s1", "m")
    own_gateway.publish(a_route("m", a_track("v1", 100, stub.path)))
    body = {"model": "m", "messages": [], "stream": stream, "max_tokens": 10_000, "stub_token_delay_s": 0.02}
    with socket.create_connection(("127.0.0.1", own_gateway.settings.gateway_port), timeout=10) as connection:
        connection.sendall(_request(own_gateway, body))
        if stream:
            assert b"data:" in _some(connection)
        else:
            until("the engine has it", lambda: "a request began" in own_gateway.log.read_text())
        left_at = time.monotonic()
        assert callable(leave)
        leave(connection)
        until("the engine has stopped", lambda: ABANDONED in own_gateway.log.read_text(), timeout_s=5, every_s=0.01)
        assert time.monotonic() - left_at < 1
    until("nothing is in flight", lambda: own_gateway.run(own_gateway.feed.in_flight("p1/m", ["s1"])) == {"s1": 0})


def _request(gateway: Gateway, body: dict[str, object]) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {gateway.mint()}\r\ncontent-length: {len(data)}\r\n\r\n"
    return head.encode() + data


def _some(connection: socket.socket) -> bytes:
    """The head and some of the body."""
    found = b""
    while b"data:" not in found:
        piece = connection.recv(65536)
        assert piece, found
        found += piece
    return found
