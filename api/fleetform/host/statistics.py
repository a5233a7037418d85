"""What the middleware counts inside a replica, for the host to read. Standard library only: an engine imports it.

Counts only, of requests that came through the gateway; nothing of what was asked or answered.
"""

import bisect
import os
from typing import Any

PATH = "/ff/statistics"
"""On the engine's own socket. The gateway's list of paths does not have it."""
BOUNDS_MS: tuple[float, ...] = tuple(round(1.1**power, 6) for power in range(160))
"""As in domain/load.py, which an engine does not import."""
_ERROR = b'data: {"error"'
_EVENTS = (b"event: error", b"event: response.failed")


class Statistics:
    """Since the engine's start. gaps: cell of BOUNDS_MS → pauses between two parts of a stream. parts: of streams, one for each token
    or a few. streams_failed: those in which an error was sent.
    """

    __slots__ = ("begun", "ended", "gaps", "parts", "streams_failed")

    def __init__(self) -> None:
        self.begun = self.ended = self.parts = self.streams_failed = 0
        self.gaps: dict[int, int] = {}

    def gap(self, seconds: float) -> None:
        """A pause between two parts of a stream."""
        cell = bisect.bisect_left(BOUNDS_MS, seconds * 1000.0)
        self.gaps[cell] = self.gaps.get(cell, 0) + 1

    def shown(self) -> dict[str, Any]:
        """As JSON can hold it. process: counts of another one begin at 0."""
        counts = {name: getattr(self, name) for name in self.__slots__}
        return {"process": os.getpid(), **counts, "gaps": {str(cell): count for cell, count in self.gaps.items()}}


def tells_error(part: bytes) -> bool:
    """True when a part of a stream holds an error: an answer's own text cannot look so, since JSON escapes its quotes and line ends."""
    return _ERROR in part or (b"event: " in part and any(part.startswith(event) or b"\n" + event in part for event in _EVENTS))
