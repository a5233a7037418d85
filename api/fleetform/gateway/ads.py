"""The delta ADS server: one gRPC stream per Envoy, on a Unix socket, all of them fed from one catalogue."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

# Read when grpc is imported: this process forks engines, which never use it, and its fork handlers would hold those forks up.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc

from fleetform.gateway.delta import Catalogue, Resource, Stream

_REQUEST_BYTES_MAX = 64 << 20
"""A reconnecting Envoy names every resource it has."""


class AdsServer:
    """Serves a catalogue. on_change is called, on the event loop, when something was acknowledged or refused, or an Envoy came or went.

    It answers nobody before the first `publish`: an Envoy that serves keeps what it has, one that starts waits.
    """

    def __init__(self, socket: Path, on_change: Callable[[], None]) -> None:
        self._socket = socket
        self._on_change = on_change
        self._catalogue = Catalogue()
        self._connections: set[_Connection] = set()
        self._published = asyncio.Event()
        self._acknowledged = 0
        self._stopping = False
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen on the socket, replacing one that a dead process has left."""
        self._socket.unlink(missing_ok=True)
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", _REQUEST_BYTES_MAX)])
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(_Servicer(self), self._server)
        self._server.add_insecure_port(f"unix:{self._socket}")
        await self._server.start()

    async def stop(self) -> None:
        """End the streams and close the socket. The Envoys go on with what they have."""
        self._stopping = True
        self._published.set()
        for connection in self._connections:
            connection.close()
        if self._server is not None:
            await self._server.stop(grace=1)
            self._server = None
        self._socket.unlink(missing_ok=True)

    def publish(self, resources: list[Resource], removed: list[tuple[str, str]]) -> int:
        """Send a set of changes to every Envoy; the sequence by which `acknowledged` counts it."""
        changed = self._catalogue.put(resources, removed)
        for connection in self._connections:
            connection.stream.changed(changed)
            connection.wake.set()
        self._published.set()
        return self._catalogue.sequence

    @property
    def connected(self) -> int:
        """How many Envoys have everything and are connected."""
        return sum(connection.stream.synced for connection in self._connections)

    def acknowledged(self) -> int:
        """The highest sequence up to which every live Envoy has taken everything; the last known while none is connected.

        An Envoy that is still starting has its listener shut, so it does not count.
        """
        streams = [connection.stream for connection in self._connections if connection.stream.synced]
        if streams:
            self._acknowledged = min(stream.acknowledged() for stream in streams)
        return self._acknowledged

    @property
    def is_taken(self) -> bool:
        """True when every live Envoy has taken everything that was published, or there is none."""
        return not self.connected or self.acknowledged() >= self._catalogue.sequence

    def rejected(self) -> dict[str, str]:
        """Resource name → the words of an Envoy that refuses it."""
        return {name: words for connection in self._connections for name, words in connection.stream.rejected().items()}

    async def serve(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """One Envoy's stream, until it ends."""
        await self._published.wait()
        if self._stopping:
            return
        connection = _Connection(Stream(self._catalogue))
        self._connections.add(connection)
        reader = asyncio.create_task(self._read(requests, connection))
        try:
            while not connection.ended:
                connection.wake.clear()
                for response in connection.stream.take():
                    yield response
                self._on_change()
                await connection.wake.wait()
        finally:
            reader.cancel()
            self._connections.discard(connection)
            self._on_change()

    async def _read(self, requests: AsyncIterator[Any], connection: "_Connection") -> None:
        try:
            with contextlib.suppress(grpc.aio.AioRpcError):
                async for request in requests:
                    connection.stream.receive(request)
                    connection.wake.set()
        finally:
            connection.close()


class _Connection:
    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.wake = asyncio.Event()
        self.ended = False

    def close(self) -> None:
        """Make `serve` return."""
        self.ended = True
        self.wake.set()


class _Servicer(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]  # generated without types
    def __init__(self, server: AdsServer) -> None:
        self._ads = server

    async def DeltaAggregatedResources(self, request_iterator: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802  # the name in Envoy's service
        async for response in self._ads.serve(request_iterator):
            yield response
