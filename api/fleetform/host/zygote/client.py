"""The worker's side of the zygote: is it there, and have it fork an engine that is recorded before it runs."""

import asyncio
import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fleetform.host import gate, processes
from fleetform.host.children import recorded_identity
from fleetform.host.processes import Identity, identify
from fleetform.host.zygote import message
from fleetform.host.zygote.message import Ask

CONNECT_S = 2.0
REPLY_S = 10.0
WARM_WAIT_S = 90.0
"""How long a start waits for a zygote that lives and is still importing. That takes some 30 s on two busy cores, and a plain start beside
it would take longer: it has the same imports before it, three times over.
"""
WARM_POLL_S = 0.1


class NotForked(Exception):
    """The zygote did not do it, for the reason that is the message; the engine is to be started plainly."""


async def unready(path: Path, record: Path, wait_s: float = WARM_WAIT_S) -> str:
    """Why nothing can be forked now, or nothing. A zygote that lives (by record) and does not listen yet is waited for."""
    deadline = asyncio.get_running_loop().time() + wait_s
    while not _listens(path):
        zygote = recorded_identity(record)
        if zygote is None or not processes.alive(zygote):
            return "no zygote runs"
        if asyncio.get_running_loop().time() >= deadline:
            return f"the zygote was still importing after {wait_s:g} s"
        await asyncio.sleep(WARM_POLL_S)
    return ""


def fork(
    path: Path,
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    record: Callable[[Identity], None],
    *,
    mode: str = gate.CONFINED,
) -> Identity:
    """`launcher.launch` by a fork of the zygote that listens at path; always confined. Blocks.

    NotForked: nothing was started. What record raises passes through, and nothing is started either; nor if we die meanwhile.
    """
    read_end, write_end = os.pipe()
    try:
        try:
            pid = _ask(path, argv, env, cwd, log, read_end, mode)
        finally:
            os.close(read_end)
        identity = identify(pid)
        if identity is None or identity.session_id != pid:
            raise NotForked(f"the forked process {pid} was gone before it was recorded")
        record(identity)
        os.write(write_end, gate.OPEN)
    finally:
        # Closed unopened, the gate ends the forked process.
        os.close(write_end)
    return identity


def _ask(path: Path, argv: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path, gate_end: int, mode: str) -> int:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(CONNECT_S)
            connection.connect(str(path))
            if message.peer_uid(connection) != os.geteuid():
                raise NotForked("the zygote's socket belongs to another user")
            connection.settimeout(REPLY_S)
            message.send_ask(connection, Ask(argv=tuple(argv), env=dict(env), cwd=str(cwd), log=descriptor, gate=gate_end, mode=mode))
            answer = json.loads(connection.recv(message.LIMIT_BYTES) or b"{}")
    except (OSError, ValueError) as error:
        raise NotForked(f"the zygote does not answer: {error}") from error
    finally:
        os.close(descriptor)
    if isinstance(answer.get("pid"), int):
        pid: int = answer["pid"]
        return pid
    raise NotForked(str(answer.get("refused", "the zygote died meanwhile")))


def _listens(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(CONNECT_S)
            connection.connect(str(path))
    except OSError:
        return False
    return True
