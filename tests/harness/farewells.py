"""Engines behind our middleware, and the part of a worker that says their farewells, as processes that can be killed."""

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


def _listens(path: Path, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_UNIX, kind) as asking:
        asking.connect(str(path))
        return True
