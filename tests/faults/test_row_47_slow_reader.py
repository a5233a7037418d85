"""Row 47: two hundred clients that read ten bytes a second. The replica waits for them, the proxy stays small, nobody else notices.

A client that has stopped altogether is let go when a stream may pause no longer: an engine works for nobody who does not read.
"""

import asyncio
import contextlib
import json
import socket
import statistics
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fleetform.host.statistics import PATH
from tests.gateway.stack import Gateway, a_route, a_track
from tests.harness.farewells import chunks, rest
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]
READERS = 200
LASTS_S = 5.0
MIB = 1 << 20
PIECE = b"10000\r\n" + b"x" * (1 << 16) + b"\r\n"
"""64 KiB of an answer that never ends."""


class Endless:
    """An engine whose answers never end. sent: bytes of all of them."""

    def __init__(self) -> None:
        self.sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            while True:
                writer.write(PIECE)
                await writer.drain()
                self.sent += len(PIECE)


def test_row_47_slow_readers_are_waited_for_and_nobody_else_is(own_gateway: Gateway) -> None:
    engine, endless = own_gateway.echo("one"), Endless()
    path = own_gateway.root / "endless.sock"
    server = own_gateway.run(asyncio.start_unix_server(endless.serve, path))
    own_gateway.publish(a_route("slow", a_track("v1", 100, path)), a_route("quick", a_track("v1", 100, engine.path)))
    client = own_gateway.client()
    client.chat.completions.create(model="quick", messages=[])
    before = resident_bytes(own_gateway.envoy.pid)
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(slow_reader(own_gateway)) for _ in range(READERS)]
        until("all are under way", lambda: in_flight(own_gateway) == READERS)
        until("nothing flows by itself any more", lambda: stands_still(endless))
        sent, took_s = endless.sent, list[float]()
        ends_at = time.monotonic() + LASTS_S
        while time.monotonic() < ends_at:
            begun = time.monotonic()
            assert client.chat.completions.create(model="quick", messages=[]).choices[0].message.content == "one"
            took_s.append(time.monotonic() - begun)
            for reader in readers:
                assert reader.recv(1), "an answer was cut"
        assert statistics.median(took_s) < 1
        assert in_flight(own_gateway) == READERS
        assert endless.sent - sent < READERS * MIB
        # What Envoy keeps for one of them is bounded: its own 128 KiB, and what came before the replica was told to wait.
        assert resident_bytes(own_gateway.envoy.pid) - before < READERS * MIB // 2
    until("all have left", lambda: in_flight(own_gateway) == 0)
    server.close()
    own_gateway.run(engine.stop())


def test_row_47_a_reader_that_has_stopped_is_let_go_and_the_engine_works_for_it_no_longer(own_gateway: Gateway) -> None:
    path = own_gateway.serve("one", "slow", stream_pause_s="2")
    own_gateway.publish(a_route("slow", a_track("v1", 100, path)))
    with slow_reader(own_gateway, stream=True, max_tokens=1_000_000, stub_padding=10_000) as reader:
        until("it is under way", lambda: told(path)["begun"] == 1)
        until("it is over", lambda: told(path)["ended"] == 1, timeout_s=30)
        assert told(path)["streams_failed"] == 0, "the engine did what it was asked for"
        assert own_gateway.client().chat.completions.create(model="slow", messages=[]).choices[0].message.content == "one"
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
        _, is_whole = chunks(rest(reader))
        assert not is_whole, "it broke off, and does not look like an end"
    until("the proxy has nothing of it", lambda: own_gateway.run(own_gateway.feed.in_flight("p1/slow", ["one"]))["one"] == 0)


def told(engine: Path) -> dict[str, Any]:
    """What the middleware in that engine has counted."""
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(engine)), base_url="http://engine") as http:
        counts: dict[str, Any] = http.get(PATH).json()
        return counts


def stands_still(endless: Endless) -> bool:
    before = endless.sent
    time.sleep(0.3)  # that nothing is sent can only be seen over a time
    return before == endless.sent


def slow_reader(gateway: Gateway, **wish: Any) -> socket.socket:
    """A client that has asked for a large answer and takes in nothing by itself."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", gateway.settings.gateway_port))
    data = json.dumps({"model": "slow", **wish}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {gateway.mint()}\r\ncontent-length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    return connection


def in_flight(gateway: Gateway) -> int:
    return gateway.run(gateway.feed.in_flight("p1/slow", ["endless"]))["endless"]


def resident_bytes(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
