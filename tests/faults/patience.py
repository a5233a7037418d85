"""Asking again where the server says that it is busy: on a loaded machine a lock may be held for longer than it waits (row 5)."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx2

PAUSE_S = 0.1
BUSY = 503


async def told(ask: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
    """The first answer that is not 503, which says that nothing was done."""
    while True:
        answer = await ask()
        if answer.status_code != BUSY:
            return answer
        assert int(answer.headers["retry-after"]) > 0
        await asyncio.sleep(PAUSE_S)
