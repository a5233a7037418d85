"""The connection to the host worker: what waits goes there at once, and what is in force comes back. See gateway/waiting.py."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from fleetform.gateway.waiting import InForce, Waiting

_RETRY_S = 0.2
_BETWEEN_S = 0.02
"""Counts are sent at most fifty times a second, however many requests come and go."""


class WorkerLink:
    """counts: what is held now, by endpoint key. on_news is called when `in_force` has changed; it is None while the worker is away."""

    def __init__(self, socket: Path, counts: Callable[[], dict[str, int]], on_news: Callable[[], None]) -> None:
        self.in_force: InForce | None = None
        self._socket = socket
        self._counts = counts
        self._on_news = on_news
        self._wake = asyncio.Event()

    def changed(self) -> None:
        """What is held has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Stay connected, until cancelled."""
        while True:
            with contextlib.suppress(OSError, ValueError, msgspec.DecodeError):
                await self._connected()
            if self.in_force is not None:
                self.in_force = None
                self._on_news()
            await asyncio.sleep(_RETRY_S)

    async def _connected(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        teller = asyncio.create_task(self._tell(writer))
        try:
            while line := await reader.readline():
                self.in_force = msgspec.json.decode(line, type=InForce)
                self._on_news()
        finally:
            teller.cancel()
            writer.close()

    async def _tell(self, writer: asyncio.StreamWriter) -> None:
        told: dict[str, int] = {}
        with contextlib.suppress(OSError):
            while True:
                self._wake.clear()
                now = self._counts()
                if now != told:
                    told = now
                    writer.write(msgspec.json.encode(Waiting(waiting=now)) + b"\n")
                    await writer.drain()
                    await asyncio.sleep(_BETWEEN_S)
                await self._wake.wait()
