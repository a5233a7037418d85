"""Engines behind our middleware, and the part of a worker that says their farewells, as processes that can be killed."""

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

from fleetform.host.farewells.deposit import SOCKET
from tests.gateway.processes import child
from tests.harness.waiting import until

ENGINE = Path(__file__).parents[1] / "engines" / "served.py"
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


def an_engine(path: Path, name: str, model: str, log: Path, http: str = "httptools", loop: str = "uvloop") -> "subprocess.Popen[bytes]":
    """It listens at path when this returns."""
    words = ["--socket", str(path), "--served-name", model, "--instance", name, "--http", http, "--loop", loop]
    process = child([sys.executable, str(ENGINE), *words], log)
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
    lines = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    return sum(fields[4] == "0005" and fields[6] in inodes for fields in lines)


def has_a_box(keeper_pid: int) -> bool:
    """True when an engine has left something with that keeper."""
    return packets(keeper_pid) >= 3


def _listens(path: Path, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_UNIX, kind) as asking:
        asking.connect(str(path))
        return True
