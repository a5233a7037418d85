"""What the control API is given by whoever starts it: nothing here is looked up from the surroundings."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fleetform.credentials import SigningKey
from fleetform.domain.protocol import LogText
from fleetform.routes.waker import Waker
from fleetform.settings import Settings


class HostLogs(Protocol):
    """How the logs of replicas are reached, wherever they run."""

    async def read(self, replica_id: str, host: str | None, lines: int) -> LogText:
        """The last lines of a replica's log. host None: no longer known. NotFound when it is kept nowhere; HostUnreachable."""
        ...


@dataclass(frozen=True, kw_only=True)
class Dependencies:
    """now: the time in UTC. logs: engine logs on their hosts. waker: fed by `database.listen`."""

    settings: Settings
    key: SigningKey
    logs: HostLogs
    waker: Waker
    now: Callable[[], datetime]
