"""Questions to Envoy's admin interface, over its Unix socket."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

_DEADLINE_S = 5


async def in_flight(admin_socket: Path, clusters: list[str]) -> dict[str, dict[str, int]]:
    """Cluster → address → requests that Envoy has under way there. OSError when Envoy does not answer within five seconds."""
    pattern = "^(" + "|".join(re.escape(name) for name in clusters) + ")$"
    body = await _ask(admin_socket, "GET", f"/clusters?format=json&filter={_quoted(pattern)}")
    counts: dict[str, dict[str, int]] = {}
    for status in json.loads(body).get("cluster_statuses", []):
        hosts = {_address(host): _active(host) for host in status.get("host_statuses", [])}
        counts[status["name"]] = hosts
    return counts


async def reopen_logs(admin_socket: Path) -> None:
    """Make Envoy open its log files anew, after they have been renamed."""
    await _ask(admin_socket, "POST", "/reopen_logs")


def _quoted(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-._~" else f"%{ord(c):02X}" for c in text)


def _address(host: dict[str, Any]) -> str:
    """A socket's path, or `127.0.0.1:port`."""
    address = host["address"]
    if "pipe" in address:
        return str(address["pipe"]["path"])
    return f"{address['socket_address']['address']}:{address['socket_address']['port_value']}"


def _active(host: dict[str, Any]) -> int:
    """Envoy leaves a value of 0 out."""
    return next((int(stat.get("value", 0)) for stat in host["stats"] if stat["name"] == "rq_active"), 0)


async def _ask(admin_socket: Path, method: str, target: str) -> bytes:
    async with asyncio.timeout(_DEADLINE_S):
        reader, writer = await asyncio.open_unix_connection(str(admin_socket))
        try:
            writer.write(f"{method} {target} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode())
            await writer.drain()
            answer = await reader.read()
        finally:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1]
    if status != b"200":
        raise OSError(f"Envoy's admin interface answered {status.decode()} to {method} {target.partition('?')[0]}")
    return _unchunked(body) if b"transfer-encoding: chunked" in head.lower() else body


def _unchunked(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            break
        parts.append(body[:length])
        body = body[length + 2 :]
    return b"".join(parts)
