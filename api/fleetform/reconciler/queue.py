"""What is to be looked at: each key once, never by two workers at a time, what somebody waits for before what is only due."""

import asyncio
import contextlib
import heapq
from collections import deque
from collections.abc import Callable
from datetime import datetime

FORGOTTEN_MAX = 100
"""So many times of keys that were looked at sooner may be left, beside as many as there are keys. They may lie months ahead."""


class WorkQueue:
    """Keys with three ways in: `hint` (something happened), `sweep` (the slow pass), `later` (at a time).

    A key that comes in while it is worked on is handed out again afterwards. _waiting: key → whether it waits as a hint.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._hints: deque[str] = deque()
        self._sweep: deque[str] = deque()
        self._waiting: dict[str, bool] = {}
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._timers: list[tuple[datetime, str]] = []
        self._due: dict[str, datetime] = {}
        self._wake = asyncio.Event()

    def hint(self, key: str) -> None:
        """Look at key soon."""
        if key in self._busy:
            self._again.add(key)
        elif not self._waiting.get(key, False):
            # A copy may wait among the swept ones; it is skipped when its turn comes.
            self._waiting[key] = True
            self._hints.append(key)
        self._wake.set()

    def sweep(self, key: str) -> None:
        """Look at key when nothing is more urgent."""
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = False
            self._sweep.append(key)
            self._wake.set()

    def later(self, key: str, at: datetime) -> None:
        """Look at key at that time; only the earliest time of a key counts until it is looked at."""
        known = self._due.get(key)
        if known is None or at < known:
            self._due[key] = at
            heapq.heappush(self._timers, (at, key))
            if len(self._timers) > 2 * len(self._due) + FORGOTTEN_MAX:
                self._timers = [(due, each) for each, due in self._due.items()]
                heapq.heapify(self._timers)
            self._wake.set()

    def look(self) -> None:
        """The clock has been moved: see what is due now."""
        self._wake.set()

    async def take(self) -> str:
        """The next key, as soon as there is one. `done` must follow."""
        while True:
            key = self.next()
            if key is not None:
                return key
            self._wake.clear()
            await self._sleep()

    def next(self) -> str | None:
        """The next key, or None when nothing is to be looked at now. `done` must follow a key."""
        self._ring()
        key = self._pop()
        if key is not None:
            self._due.pop(key, None)
            self._busy.add(key)
        return key

    def done(self, key: str) -> None:
        """key has been looked at."""
        self._busy.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.hint(key)

    @property
    def next_at(self) -> datetime | None:
        """When the next key is due by the clock; None when none is."""
        return min(self._due.values(), default=None)

    @property
    def is_idle(self) -> bool:
        """True when nothing is worked on and nothing is due."""
        self._ring()
        return not self._waiting and not self._busy and not self._again

    def _pop(self) -> str | None:
        for line in (self._hints, self._sweep):
            while line:
                key = line.popleft()
                if key in self._waiting:
                    del self._waiting[key]
                    return key
        return None

    def _ring(self) -> None:
        now = self._now()
        while self._timers and self._timers[0][0] <= now:
            at, key = heapq.heappop(self._timers)
            if self._due.get(key) == at:
                del self._due[key]
                self.hint(key)

    async def _sleep(self) -> None:
        if not self._timers:
            await self._wake.wait()
            return
        timeout_s = (self._timers[0][0] - self._now()).total_seconds()
        # Not wait_for: of a cancellation that comes with the wake-up it would lose the cancellation.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, timeout_s)):
                await self._wake.wait()
