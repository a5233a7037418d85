"""Row 47: two hundred clients that read ten bytes a second. The replica has to wait for them, the proxy does not grow, nobody else notices."""

import contextlib
import json
import socket
import time
from pathlib import Path

import pytest

from tests.gateway.stack import Gateway, a_route, a_track
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]
READERS = 200
ANSWER_BYTES = 1 << 20
LASTS_S = 5.0
MIB = 1 << 20


def test_row_47_slow_readers_are_waited_for_and_nobody_else_is(own_gateway: Gateway) -> None:
    engine = own_gateway.echo("one")
    own_gateway.publish(a_route("slow", a_track("v1", 100, engine.path)), a_route("quick", a_track("v1", 100, engine.path)))
    client = own_gateway.client()
    client.chat.completions.create(model="quick", messages=[])
    before = resident_bytes(own_gateway.envoy.pid)
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(slow_reader(own_gateway)) for _ in range(READERS)]
        until("all are under way", lambda: in_flight(own_gateway) == READERS)
        ends_at, slowest_s = time.monotonic() + LASTS_S, 0.0
        while time.monotonic() < ends_at:
            begun = time.monotonic()
            assert client.chat.completions.create(model="quick", messages=[]).choices[0].message.content == "one"
            slowest_s = max(slowest_s, time.monotonic() - begun)
            for reader in readers:
                assert reader.recv(1), "an answer was cut"
        assert slowest_s < 2
        # Nobody has got a whole answer, so the replica still waits with each: what Envoy keeps for a reader is bounded.
        assert in_flight(own_gateway) == READERS
        assert resident_bytes(own_gateway.envoy.pid) - before < READERS * MIB * 3 // 4
    until("all have left", lambda: in_flight(own_gateway) == 0)
    own_gateway.run(engine.stop())


def slow_reader(gateway: Gateway) -> socket.socket:
    """A client that has asked for a large answer and takes in nothing by itself."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", gateway.settings.gateway_port))
    data = json.dumps({"model": "slow", "answer_bytes": ANSWER_BYTES}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {gateway.mint()}\r\ncontent-length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    return connection


def in_flight(gateway: Gateway) -> int:
    return gateway.run(gateway.feed.in_flight("p1/slow", ["one"]))["one"]


def resident_bytes(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
