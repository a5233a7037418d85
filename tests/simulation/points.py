"""Points: where a call waits for the seed to say how it ends."""

import asyncio
import contextvars
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.servers import Server

CURRENT: contextvars.ContextVar["Server"] = contextvars.ContextVar("server")
"""The server on whose behalf a call is made."""


class Fate(StrEnum):
    """LOST: not done, not answered. UNANSWERED: done, not answered. LATE: not answered, done later. TWICE: done twice, answered."""

    OK = "ok"
    LOST = "lost"
    UNANSWERED = "unanswered"
    LATE = "late"
    TWICE = "twice"


class Point:
    """One call that waits. fates: how it may end."""

    def __init__(self, server: "Server", what: str, fates: tuple[Fate, ...]) -> None:
        self.server = server
        self.what = what
        self.fates = fates
        self.future: asyncio.Future[Fate] = asyncio.get_running_loop().create_future()


class Points:
    """All calls that wait now, oldest first. tell: called with a line for whatever happens."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.waiting: list[Point] = []

    async def reach(self, what: str, *fates: Fate) -> Fate:
        """Wait here. Beside OK, the call may end in fates."""
        point = Point(CURRENT.get(), what, (Fate.OK, *fates))
        self.waiting.append(point)
        try:
            return await point.future
        finally:
            if point in self.waiting:  # its server died here
                self.waiting.remove(point)

    def release(self, point: Point, fate: Fate) -> None:
        self.waiting.remove(point)
        if not point.future.done():  # its server died a moment ago
            point.future.set_result(fate)
