"""What the worker asks of the zygote and what it answers: one JSON object each on a SOCK_SEQPACKET Unix socket. Standard library only.

asked      {"argv": […], "env": {…}, "cwd": "…", "mode": "…"} with two descriptors: the log, and the gate that
           opens once the record is on disk
answered   {"pid": N} by the forked child itself, when it leads its own session and works in cwd, or {"refused": "a sentence"} by either
"""

import json
import os
import socket
import struct
from typing import Any, NamedTuple

from fleetform.host.gate import CONFINED

LIMIT_BYTES = 192 * 1024
"""A message is one datagram, and the kernel's default send buffer has 208 KiB."""
_DESCRIPTORS = 2


class Ask(NamedTuple):
    """One engine to be forked. argv: its sys.argv. env: its whole environment. log, gate: descriptors, in the receiver's own numbers.

    mode: of `host/gate.py`, never FREE.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    log: int
    gate: int
    mode: str = CONFINED


def send_ask(connection: socket.socket, ask: Ask) -> None:
    """OSError when it is too long, or nobody is there."""
    data = json.dumps({"argv": ask.argv, "env": ask.env, "cwd": ask.cwd, "mode": ask.mode}).encode()
    if len(data) > LIMIT_BYTES:
        raise OSError(f"arguments and environment take {len(data)} bytes, and the limit is {LIMIT_BYTES}")
    socket.send_fds(connection, [data], [ask.log, ask.gate])


def receive_ask(connection: socket.socket) -> Ask:
    """ValueError when what came is none; no descriptor stays open then."""
    data, descriptors, _, _ = socket.recv_fds(connection, LIMIT_BYTES + 1, _DESCRIPTORS)
    try:
        value = json.loads(data)
        argv, env = tuple(map(str, value["argv"])), {str(key): str(item) for key, item in value["env"].items()}
        log, gate = descriptors
        return Ask(argv=argv, env=env, cwd=str(value["cwd"]), log=log, gate=gate, mode=str(value.get("mode", CONFINED)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        for descriptor in descriptors:
            os.close(descriptor)
        raise ValueError("this is not a request for an engine") from error


def answer(connection: socket.socket, **fields: Any) -> None:
    """Say it; a reader that has gone is no matter."""
    try:
        connection.send(json.dumps(fields).encode())
    except OSError:
        return


def peer_uid(connection: socket.socket) -> int:
    """Whose process is at the other end, by the kernel's word."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid
