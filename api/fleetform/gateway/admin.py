"""Questions to Envoy's admin interface, over its Unix socket."""

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fleetform.domain.replica import Address, Loopback, Unix

_DEADLINE_S = 5
_CLUSTER_STATS = r"^cluster\..*\.upstream_rq_(active|total)$"
_GAUGE = re.compile(rb"::rq_(active|total)::(\d+)\n")


class Count(NamedTuple):
    """Requests at a cluster or at one of its hosts: under way now, and begun since Envoy knows of it."""

    active: int
    total: int


def address_text(address: Address) -> str:
    """How Envoy names a host at that address; empty when it cannot be one of this machine's."""
    match address:
        case Unix(path=path):
            return path
        case Loopback(port=port):
            return f"127.0.0.1:{port}"
        case _:
            return ""


async def in_flight(admin_socket: Path, clusters: list[str]) -> dict[str, dict[str, int]]:
    """Cluster → address → requests that Envoy has under way there. OSError when Envoy does not answer within five seconds.

    An Envoy that was exchanged for this one may still be at work on what it had. This one knows how much, by cluster and not by host:
    whatever may be its predecessor's is counted at every host, since it may be there.
    """
    before = await host_counts(admin_socket, clusters)
    merged = await _merged(admin_socket, clusters)
    if merged is None:
        return {cluster: {address: count.active for address, count in hosts.items()} for cluster, hosts in before.items()}
    found = await host_counts(admin_socket, clusters)
    counts: dict[str, dict[str, int]] = {}
    for cluster, hosts in found.items():
        # What has begun here between the two looks may have come after the clusters were counted, and then is not in their number.
        begun = sum(count.total - before.get(cluster, {}).get(address, count).total for address, count in hosts.items())
        own = max(0, sum(count.active for count in hosts.values()) - begun)
        elsewhere = max(0, merged.get(cluster, 0) - own)
        counts[cluster] = {address: count.active + elsewhere for address, count in hosts.items()}
    return counts


async def cluster_counts(admin_socket: Path) -> dict[str, Count]:
    """Every cluster that has ever had a request. 3 ms of Envoy's main thread at 1,000 clusters, where asking for their hosts takes 16.

    OSError as for `in_flight`.
    """
    body = await _ask(admin_socket, "GET", f"/stats?usedonly&filter={_quoted(_CLUSTER_STATS)}")
    found: dict[str, dict[str, int]] = {}
    for line in body.decode().splitlines():
        name, _, value = line.rpartition(": ")
        cluster, _, stat = name.removeprefix("cluster.").rpartition(".")
        found.setdefault(cluster, {})[stat] = int(value)
    return {name: Count(active=s.get("upstream_rq_active", 0), total=s.get("upstream_rq_total", 0)) for name, s in found.items()}


async def _merged(admin_socket: Path, clusters: list[str]) -> dict[str, int] | None:
    """Cluster → requests under way at this Envoy and at its predecessor; None when there is no predecessor that has anything."""
    names = "|".join(re.escape(name) for name in clusters)
    wanted = rf"^(server\.parent_connections|cluster\.({names})\.upstream_rq_active)$"
    body = await _ask(admin_socket, "GET", f"/stats?filter={_quoted(wanted)}")
    found = {name: int(value) for name, _, value in (line.rpartition(": ") for line in body.decode().splitlines())}
    if not found.pop("server.parent_connections", 0):
        return None
    return {name.removeprefix("cluster.").removesuffix(".upstream_rq_active"): value for name, value in found.items()}


async def host_counts(admin_socket: Path, clusters: Iterable[str] | None = None) -> dict[str, dict[str, Count]]:
    """Cluster → address → counts, of some clusters or of all. Addresses are as in `address_text`. OSError as above."""
    target = "/clusters"
    if clusters is not None:
        target += "?filter=" + _quoted("^(" + "|".join(re.escape(name) for name in clusters) + ")$")
    return _hosts(await _ask(admin_socket, "GET", target))


def _hosts(text: bytes) -> dict[str, dict[str, Count]]:
    """Out of lines like `p1/chat::/run/r-1.sock::rq_active::2`; of each host the active ones come before the total."""
    found: dict[str, dict[str, Count]] = {}
    active = 0
    for match in _GAUGE.finditer(text):
        value = int(match[2])
        if match[1] == b"active":
            active = value
            continue
        line = text[text.rfind(b"\n", 0, match.start()) + 1 : match.start()].decode()
        cluster, _, address = line.partition("::")
        found.setdefault(cluster, {})[address] = Count(active=active, total=value)
    return found


async def reopen_logs(admin_socket: Path) -> None:
    """Make Envoy open its log files anew, after they have been renamed."""
    await _ask(admin_socket, "POST", "/reopen_logs")


def _quoted(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-._~" else f"%{ord(c):02X}" for c in text)


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
