"""Wakes requests that wait for a resource to change, from the store's notifications."""

import asyncio
import contextlib
from collections.abc import Iterator


class Waker:
    """Hand `told` to `database.listen`. One waiter per request; what nobody waits for costs nothing. closed: nobody is to wait any more."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self.closed = False

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return sum(len(group) for group in self._waiting.values())

    def told(self, payload: str) -> None:
        """A notification came: `<kind> <uid>`, or "" when some may have been missed, which wakes everybody."""
        uid = payload.rpartition(" ")[2]
        groups = (self._waiting.get(uid, set()),) if payload else tuple(self._waiting.values())
        for event in (event for group in groups for event in group):
            event.set()

    def close(self) -> None:
        """The server ends: wake everybody, for good."""
        self.closed = True
        self.told("")

    @contextlib.contextmanager
    def watch(self, uid: str) -> Iterator[asyncio.Event]:
        """An event that is set by each change of uid from now on; clear it before reading what may have changed."""
        event = asyncio.Event()
        group = self._waiting.setdefault(uid, set())
        group.add(event)
        try:
            yield event
        finally:
            group.discard(event)
            if not group:
                self._waiting.pop(uid, None)
