"""The one protocol behind which machines are found, reserved on and spoken to."""

from datetime import datetime
from typing import Protocol

from fleetform.domain.base import Record
from fleetform.domain.load import HostLoad, Windows
from fleetform.domain.machine import Shape
from fleetform.domain.protocol import CommandRequest, CommandResult, HostReplica, HostReport, LogText
from fleetform.domain.replica import Member
from fleetform.gateway.snapshot import PublishResult, SnapshotUpdate


class Pending(Record, frozen=True, kw_only=True, tag="pending"):
    """The reservation waits for room; ask again after so many seconds."""

    after_s: float


class Members(Record, frozen=True, kw_only=True, tag="members"):
    """The reservation holds; these are the replica's members."""

    members: tuple[Member, ...]


class Refused(Record, frozen=True, kw_only=True, tag="refused"):
    """There will be no reservation. reason: CamelCase, stable."""

    reason: str
    message: str


Grant = Pending | Members | Refused


class Driver(Protocol):
    """Machines. Every call raises HostUnreachable when the host does not answer in time: what runs there is then unknown, not gone."""

    async def hosts(self) -> tuple[str, ...]:
        """The names of the hosts that there are, reachable or not."""

    async def observe(self, host: str, since: int, wait_s: float) -> HostReport:
        """What has changed on host after the report with that seq, at once or when it happens, empty after wait_s; 0: everything."""

    async def reserve(self, replica_id: str, shape: Shape, preference: Member) -> Grant:
        """Room for a replica of shape, on preference when it can be. Repeated for one replica it answers the same."""

    async def release(self, replica_id: str) -> None:
        """Give back what `reserve` granted; nothing when it granted nothing."""

    async def command(self, host: str, request: CommandRequest) -> CommandResult:
        """Make host do something; its progress is in the reports. NotLeader when the host has seen a higher epoch.

        HostUnreachable also when it does not speak the request's protocol version.
        """

    async def publish(self, host: str, update: SnapshotUpdate) -> PublishResult:
        """Hand host, a gateway, a change of the routing snapshot; what its proxies acknowledge is in the reports."""

    async def load(self, host: str) -> HostLoad:
        """What host measures now: at its proxy, if it has one, and of its engines."""

    async def windows(self, host: str, key: str, since: datetime) -> Windows:
        """How the requests of the endpoint `key` ended at host, a gateway, since then."""

    async def recent(self, host: str, window_s: float) -> dict[str, Windows]:
        """The same of every endpoint of which requests ended at host within the last window_s, by key."""

    async def replica(self, host: str, replica_id: str) -> HostReplica | None:
        """One replica as it is now, with its phases and what it has under way; None when host does not know it."""

    async def log(self, host: str, replica_id: str, lines: int) -> LogText:
        """The end of a replica's engine log."""

    async def close(self) -> None:
        """Let go of connections."""
