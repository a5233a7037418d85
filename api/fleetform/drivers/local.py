"""This machine: the host worker, over its Unix socket. Reservations are held in the database alone."""

from datetime import datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

import httpx2
import msgspec

from fleetform.domain.load import HostLoad, Windows
from fleetform.domain.machine import HostCapacity, Shape
from fleetform.domain.protocol import (
    OLDEST_PROTOCOL_VERSION,
    PROTOCOL_VERSION,
    CommandRequest,
    CommandResult,
    HostRefusal,
    HostReplica,
    HostReport,
    LogText,
)
from fleetform.domain.replica import Member
from fleetform.drivers.base import Grant, Members, Refused
from fleetform.errors import HostUnreachable, NotFound, NotLeader
from fleetform.gateway.snapshot import PublishResult, SnapshotUpdate

T = TypeVar("T")
_RESULT = msgspec.json.Decoder(CommandResult)
_REPORT = msgspec.json.Decoder(HostReport)
_LOG = msgspec.json.Decoder(LogText)
_LOAD = msgspec.json.Decoder(HostLoad)
_WINDOWS = msgspec.json.Decoder(Windows)
_RECENT = msgspec.json.Decoder(dict[str, Windows])
_REPLICA = msgspec.json.Decoder(HostReplica)
_PUBLISHED: msgspec.json.Decoder[PublishResult] = msgspec.json.Decoder(PublishResult)
STALE_EPOCH = "StaleEpoch"
CONNECT_TIMEOUT_S = 2.0
OBSERVE_GRACE_S = 5.0
"""How much longer than asked for a report may take before the host counts as silent."""
ANSWER_TIMEOUT_S = 30.0
"""A command is answered once its record is on disk; a full disk queue may take a while."""


class LocalDriver:
    """The driver protocol over one host. socket: the worker's API."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._capacity: HostCapacity | None = None
        transport = httpx2.AsyncHTTPTransport(uds=str(socket))
        timeout = httpx2.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        self._client = httpx2.AsyncClient(transport=transport, base_url="http://host", timeout=timeout)

    async def hosts(self) -> tuple[str, ...]:
        """The one host; HostUnreachable until it has told its name for the first time."""
        return ((await self._known()).host,)

    async def observe(self, host: str, since: int, wait_s: float) -> HostReport:
        return await self._observe(since, wait_s)

    async def reserve(self, replica_id: str, shape: Shape, preference: Member) -> Grant:
        """The preference, when it is this host and its devices: the worker's ledger looks again at the start."""
        capacity = await self._known()
        if preference.host != capacity.host:
            return Refused(reason="UnknownHost", message=f"this machine is {capacity.host}, not {preference.host}")
        unknown = set(preference.devices) - {device.uuid for device in capacity.devices}
        if unknown:
            return Refused(reason="UnknownDevice", message=f"{capacity.host} has no device {', '.join(sorted(unknown))}")
        return Members(members=(preference,))

    async def release(self, replica_id: str) -> None:
        """Nothing to give back: reservations are held in the database alone."""

    async def command(self, host: str, request: CommandRequest) -> CommandResult:
        return await self._ask("POST", "/v1/commands", _RESULT, body=request)

    async def publish(self, host: str, update: SnapshotUpdate) -> PublishResult:
        return await self._ask("POST", "/v1/gateway/snapshot", _PUBLISHED, body=update)

    async def load(self, host: str) -> HostLoad:
        return await self._ask("GET", "/v1/load", _LOAD)

    async def windows(self, host: str, key: str, since: datetime) -> Windows:
        query = urlencode({"key": key, "since": since.isoformat()})
        return await self._ask("GET", f"/v1/gateway/windows?{query}", _WINDOWS)

    async def recent(self, host: str, window_s: float) -> dict[str, Windows]:
        return await self._ask("GET", f"/v1/gateway/recent?window_s={window_s:g}", _RECENT)

    async def replica(self, host: str, replica_id: str) -> HostReplica | None:
        try:
            return await self._ask("GET", f"/v1/replicas/{replica_id}", _REPLICA)
        except NotFound:
            return None

    async def log(self, host: str, replica_id: str, lines: int) -> LogText:
        return await self._ask("GET", f"/v1/replicas/{replica_id}/log?lines={lines}", _LOG)

    async def close(self) -> None:
        await self._client.aclose()

    async def _known(self) -> HostCapacity:
        """What the host offered when it was last heard; asked for when it never was."""
        return self._capacity or (await self._observe(0, 0.0)).capacity

    async def _observe(self, since: int, wait_s: float) -> HostReport:
        path = f"/v1/observe?since={since}&wait_s={wait_s}"
        report = await self._ask("GET", path, _REPORT, timeout_s=wait_s + OBSERVE_GRACE_S)
        if not OLDEST_PROTOCOL_VERSION <= report.protocol_version <= PROTOCOL_VERSION:
            spoken = f"{OLDEST_PROTOCOL_VERSION} to {PROTOCOL_VERSION}"
            raise HostUnreachable(f"the host speaks protocol version {report.protocol_version}; this server speaks {spoken}")
        self._capacity = report.capacity
        return report

    async def _ask(
        self,
        method: str,
        path: str,
        answer: msgspec.json.Decoder[T],
        body: msgspec.Struct | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> T:
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"content-type": "application/json"}
        try:
            response = await self._client.request(method, path, content=content, headers=headers, timeout=timeout_s)
            return _decoded(response, answer, path)
        except (httpx2.HTTPError, OSError) as error:
            raise HostUnreachable(f"the host process does not answer on {self._socket}: {type(error).__name__}") from error
        except msgspec.DecodeError as error:
            raise HostUnreachable(f"the host process answers what is not of the protocol: {error}") from error


def _decoded(response: httpx2.Response, answer: msgspec.json.Decoder[T], path: str) -> T:
    """The answer, or the error that its status stands for."""
    if response.status_code == 409:
        refusal = msgspec.json.decode(response.content, type=HostRefusal)
        if refusal.reason != STALE_EPOCH:
            # Another server would be refused as well: this one goes on leading.
            raise HostUnreachable(f"the host refuses: {refusal.message}", reason=refusal.reason)
        raise NotLeader(f"the host refuses: {refusal.message}", reason=refusal.reason, epoch=refusal.epoch)
    if response.status_code == 404:
        raise NotFound(f"the host has nothing at {path}")
    if response.status_code != 200:
        raise HostUnreachable(f"the host process answered {response.status_code} to {path}")
    return answer.decode(response.content)
