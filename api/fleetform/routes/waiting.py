"""`wait_for`: answer a GET when something holds, woken by the store's notifications."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from fleetform.domain.base import Metadata
from fleetform.routes.waker import Waker


class Resource(Protocol):
    @property
    def metadata(self) -> Metadata: ...


R = TypeVar("R", bound=Resource)


async def until(waker: Waker, load: Callable[[], Awaitable[R]], holds: Callable[[R], bool], timeout_s: float) -> R:
    """The resource as soon as holds is true of it, else as it is after timeout_s, or when the server ends.

    What load raises ends the wait: NotFound is 404.
    """
    found = await load()
    if holds(found):
        return found
    with waker.watch(found.metadata.uid) as changed:
        try:
            async with asyncio.timeout(timeout_s):
                while not holds(found := await load()) and not waker.closed:
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            return found
    return found
