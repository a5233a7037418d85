"""Work that many wait for and that is done once."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Generic, TypeVar

from fleetform.errors import SourceAway
from fleetform.host.artifacts.sources import Stop, Stopped

T = TypeVar("T")
Progress = Callable[[str, int, int], None]
"""phase (`fetch`, `verify`, `convert`), bytes done, bytes in all (0: not known)."""

REPORT_EVERY_S = 0.2


class _Work(Generic[T]):
    """One piece of work under way, and who listens to it."""

    def __init__(self) -> None:
        self.stop = Stop()
        self.listeners: list[Progress] = []
        self.future: asyncio.Future[T]

    def tell(self, phase: str, done: int, total: int) -> None:
        for listener in tuple(self.listeners):
            listener(phase, done, total)


class Sharing(Generic[T]):
    """Runs work in threads, one at a time per key; everyone who asks meanwhile gets the same result or error."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._running: dict[str, _Work[T]] = {}
        self._alive: set[_Work[T]] = set()

    async def run(self, key: str, function: Callable[[Stop, Progress], T], on_progress: Progress) -> T:
        """The result of function for key. The work is stopped when the last caller is cancelled."""
        work = self._running.get(key) or self._start(key, function)
        work.listeners.append(on_progress)
        try:
            return await asyncio.shield(work.future)
        except Stopped as error:
            raise SourceAway("the artifact cache is closing") from error
        finally:
            work.listeners.remove(on_progress)
            if not work.listeners and not work.future.done():
                work.stop.set()
                # Who asks from now on starts anew, and waits at the file lock until this work has noticed.
                self._running.pop(key, None)

    async def close(self) -> None:
        """Stops all work, and returns when its threads are done with it."""
        alive = list(self._alive)
        for work in alive:
            work.stop.set()
        await asyncio.gather(*(work.future for work in alive), return_exceptions=True)

    def _start(self, key: str, function: Callable[[Stop, Progress], T]) -> _Work[T]:
        loop = asyncio.get_running_loop()
        work: _Work[T] = _Work()

        def report(phase: str, done: int, total: int) -> None:
            loop.call_soon_threadsafe(work.tell, phase, done, total)

        work.future = asyncio.ensure_future(loop.run_in_executor(self._threads, function, work.stop, _throttled(report)))
        work.future.add_done_callback(lambda _: self._ended(key, work))
        self._running[key] = work
        self._alive.add(work)
        return work

    def _ended(self, key: str, work: _Work[T]) -> None:
        self._alive.discard(work)
        if self._running.get(key) is work:
            del self._running[key]
        if not work.future.cancelled():
            work.future.exception()  # taken note of, also when nobody waits any more


def _throttled(report: Progress) -> Progress:
    """report, but at most every REPORT_EVERY_S within a phase; the first and last of a phase always pass."""
    last = ("", 0.0)

    def throttled(phase: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if phase != last[0] or done == total or now - last[1] >= REPORT_EVERY_S:
            last = (phase, now)
            report(phase, done, total)

    return throttled
