"""Work in threads, which cannot be stopped half-way."""

import asyncio
import contextlib
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
PATIENT_MAX = 256

_patient = ThreadPoolExecutor(PATIENT_MAX, thread_name_prefix="patient")


async def patiently(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What work returns or raises, called in a thread that nobody else waits for: for what may wait many seconds, as for an end.

    The threads of `asyncio.to_thread` are few on a small machine; with all of them waiting, no record would be written and no hung engine
    noticed meanwhile.
    """
    return await asyncio.get_running_loop().run_in_executor(_patient, functools.partial(work, *args, **kwargs))


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
