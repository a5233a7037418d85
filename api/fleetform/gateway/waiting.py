"""What the activators of this machine hold, as the host worker knows it, and what it tells them in return. Runs in the host worker.

Each activator keeps one connection to a Unix socket open, with one JSON object a line in both directions:

activator → worker   Waiting, whenever what it holds has changed
worker → activator   InForce, at once and whenever it has changed

A connection that ends takes its counts with it: what a dead activator held, Envoy brings to the next one.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from fleetform.domain.base import Record

HEARD_S = 15.0
"""A server asks at least every five seconds. After three of these without a question it counts as away."""
_LINE_MAX = 1 << 20
_LOOK_S = 1.0


class Waiting(Record, frozen=True, kw_only=True):
    """waiting: endpoint key → requests held."""

    waiting: dict[str, int]


class InForce(Record, frozen=True, kw_only=True):
    """version: of the snapshot stored here. acked_version: up to it, everything is in force in every live Envoy, or was refused.

    out: replicas that get nothing though they are routed, because they hang or are ejected. server_heard: a server has asked this host
    lately what is new here, so that it knows what waits.
    """

    version: int = 0
    acked_version: int = 0
    out: tuple[str, ...] = ()
    server_heard: bool = False


class WaitingRoom:
    """start, then `counts` is what is held. in_force: what the gateway here has, but for `server_heard`.

    on_change is called when another endpoint waits, or one does not wait any more.
    """

    def __init__(self, socket: Path, in_force: Callable[[], InForce], on_change: Callable[[], None]) -> None:
        self._socket = socket
        self._in_force = in_force
        self._on_change = on_change
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._heard_at: float | None = None

    async def start(self) -> None:
        """Listen on the socket, replacing one that a dead process has left."""
        self._socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._socket, limit=_LINE_MAX)
        self._socket.chmod(0o600)

    async def stop(self) -> None:
        """End the connections; the activators go on holding, and come back."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.close()
        self._socket.unlink(missing_ok=True)

    def counts(self) -> dict[str, int]:
        """Endpoint key → requests held now; endpoints without any are left out."""
        found: Counter[str] = Counter()
        for connection in self._connections:
            found.update(connection.waiting)
        return {key: count for key, count in found.items() if count > 0}

    def heard_server(self) -> None:
        """A server has asked what is new."""
        was_away = not self._is_heard()
        self._heard_at = time.monotonic()
        if was_away:
            self.tell()

    def server_heard_s(self) -> float | None:
        """Seconds since a server has asked; None: none has since this worker started."""
        return None if self._heard_at is None else time.monotonic() - self._heard_at

    def tell(self) -> None:
        """What is in force may have changed: tell every activator."""
        for connection in self._connections:
            connection.wake.set()

    def _is_heard(self) -> bool:
        return self._heard_at is not None and time.monotonic() - self._heard_at < HEARD_S

    def _now(self) -> InForce:
        return msgspec.structs.replace(self._in_force(), server_heard=self._is_heard())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(writer)
        self._connections.add(connection)
        teller = asyncio.create_task(self._tell_all(connection))
        try:
            with contextlib.suppress(OSError, ValueError, msgspec.DecodeError):
                while line := await reader.readline():
                    self._take(connection, msgspec.json.decode(line, type=Waiting).waiting)
        finally:
            teller.cancel()
            self._take(connection, {})
            self._connections.discard(connection)
            connection.close()

    def _take(self, connection: "_Connection", waiting: dict[str, int]) -> None:
        before = self.counts().keys()
        connection.waiting = waiting
        if self.counts().keys() != before:
            self._on_change()

    async def _tell_all(self, connection: "_Connection") -> None:
        """Send what is in force, and again whenever it differs. Looked at now and then too: that a server is away comes without a word."""
        told: InForce | None = None
        with contextlib.suppress(OSError):
            while True:
                connection.wake.clear()
                now = self._now()
                if now != told:
                    told = now
                    connection.writer.write(msgspec.json.encode(now) + b"\n")
                    await connection.writer.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await connection.wake.wait()


class _Connection:
    """One activator. waiting: what it says that it holds."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.waiting: dict[str, int] = {}
        self.wake = asyncio.Event()

    def close(self) -> None:
        self.writer.close()
