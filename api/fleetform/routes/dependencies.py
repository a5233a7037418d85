"""What the control API is given by whoever starts it: nothing here is looked up from the surroundings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fleetform.credentials import SigningKey
from fleetform.domain.load import HostLoad, Windows
from fleetform.domain.protocol import HostReplica, LogText
from fleetform.routes.waker import Waker
from fleetform.settings import Settings


class HostLogs(Protocol):
    """How the logs of replicas are reached, wherever they run."""

    async def read(self, replica_id: str, host: str | None, lines: int) -> LogText:
        """The last lines of a replica's log. host None: no longer known. NotFound when it is kept nowhere; HostUnreachable."""
        ...


class HostLoads(Protocol):
    """What hosts measure now."""

    async def read(self) -> tuple[HostLoad, ...]:
        """Of every host that answers within a moment; the others are left out."""
        ...

    async def recent(self, window_s: float) -> tuple[dict[str, Windows], ...]:
        """How requests ended in the last window_s: for every host that answers within a moment, endpoint key → windows."""
        ...

    async def replicas(self, hosts: Mapping[str, str]) -> dict[str, HostReplica]:
        """Replica id → what its host (hosts: replica id → host) says of it within a moment; those of which none does are left out."""
        ...


@dataclass(frozen=True, kw_only=True)
class Dependencies:
    """now: the time in UTC. logs, loads: engine logs on their hosts, and what these measure. waker: fed by `database.listen`."""

    settings: Settings
    key: SigningKey
    logs: HostLogs
    loads: HostLoads
    waker: Waker
    now: Callable[[], datetime]
