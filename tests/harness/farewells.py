"""Engines behind our middleware, and the part of a worker that says their farewells, as processes that can be killed."""

import contextlib
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from fleetform.host.farewells.deposit import SOCKET
from tests.gateway.processes import child
from tests.harness.waiting import until

ENGINE = Path(__file__).parents[1] / "engines" / "served.py"
SLOWLY: dict[str, Any] = {"stub_token_delay_s": 0.02, "max_tokens": 500}
"""Of a stream that is under way for ten seconds."""
ENDS = b"0\r\n\r\n"
"""The last chunk of a whole body."""
_KEEPER = """
import asyncio, sys
from pathlib import Path
from fleetform.host.farewells.keeper import Keeper

async def main():
    count = lambda engine: lambda told: print(f"told {told} streams of {Path(engine).name}", flush=True)
    Keeper(Path(sys.argv[1]), count, int(sys.argv[2])).start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


def an_engine(path: Path, name: str, model: str, log: Path, **options: str) -> "subprocess.Popen[bytes]":
    """It listens at path when this returns. options: as the engine has them."""
    words = ["--socket", str(path), "--served-name", model, "--instance", name]
    more = [word for option, value in options.items() for word in (f"--{option.replace('_', '-')}", value)]
    process = child([sys.executable, str(ENGINE), *words, *more], log)
    until(f"engine {name} listens", lambda: _listens(path, socket.SOCK_STREAM))
    return process


def a_keeper(folder: Path, log: Path, most: int = 1000) -> "subprocess.Popen[bytes]":
    """It listens in folder when this returns."""
    process = child([sys.executable, "-c", _KEEPER, str(folder / SOCKET), str(most)], log)
    until("the keeper listens", lambda: _listens(folder / SOCKET, socket.SOCK_SEQPACKET))
    return process


def packets(pid: int) -> int:
    """How many sockets of packets a process has: an engine its line, and a box for each stream; a keeper one more, at which it listens."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
    # Bytes: anybody's socket stands there, and a path need not be text.
    lines = (line.split() for line in Path("/proc/net/unix").read_bytes().splitlines()[1:])
    return sum(fields[4] == b"0005" and fields[6].decode() in inodes for fields in lines if len(fields) > 6)


def open_descriptors(pid: int) -> int:
    """How many a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def has_a_box(keeper_pid: int) -> bool:
    """True when an engine has left something with that keeper."""
    return packets(keeper_pid) >= 3


def _listens(path: Path, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_UNIX, kind) as asking:
        asking.connect(str(path))
        return True


class Pair:
    """An engine and, if wanted, a keeper, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        self.log.touch()
        self.processes: list[subprocess.Popen[bytes]] = []

    def engine(self, **options: str) -> "subprocess.Popen[bytes]":
        self.processes.append(an_engine(self.folder / "e.sock", "e", "m", self.log, **options))
        return self.processes[-1]

    def keeper(self, most: int = 1000) -> "subprocess.Popen[bytes]":
        self.processes.append(a_keeper(self.folder, self.log, most))
        return self.processes[-1]

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(str(self.folder / "e.sock"))
        return connection

    def told(self) -> int:
        """How many streams got their last event by the keeper's word."""
        return sum(int(line.split()[1]) for line in self.log.read_text().splitlines() if line.startswith("told "))


def ask(connection: socket.socket, path: str = "/v1/chat/completions", **wish: Any) -> None:
    body = json.dumps({"stream": True, **wish}).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nx-ff-timeout-s: 60\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)


def until_seen(connection: socket.socket, words: bytes) -> bytes:
    seen = b""
    while words not in seen:
        piece = connection.recv(65536)
        assert piece, seen
        seen += piece
    return seen


def rest(connection: socket.socket) -> bytes:
    """All that comes until the connection is closed, orderly or not."""
    seen = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            seen += piece
    return seen


def chunks(answer: bytes) -> tuple[list[bytes], bool]:
    """The chunks of a body, and whether it is whole; AssertionError where it is no such body."""
    found: list[bytes] = []
    body = answer.partition(b"\r\n\r\n")[2]
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            assert body == b"\r\n"
            return found, True
        if len(body) < length + 2:
            return found, False
        assert body[length : length + 2] == b"\r\n"
        found.append(body[:length])
        body = body[length + 2 :]
    return found, False


def events(answer: bytes) -> list[dict[str, Any]]:
    """The data of a whole body's events."""
    found, is_whole = chunks(answer)
    assert is_whole, answer[-500:]
    return [json.loads(line.removeprefix("data: ")) for line in b"".join(found).decode().split("\n") if line.startswith("data: ")]
