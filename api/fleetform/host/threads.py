"""Work in threads, which cannot be stopped half-way."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def to_its_end(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What work returns or raises, called in a thread. Cancelled meanwhile, this ends when the thread has, and not before.

    Whoever goes on behind a cancelled task would otherwise meet its work half done, and do the same beside it.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({running})
        running.exception()  # taken: whoever asked for the work has gone
        raise
