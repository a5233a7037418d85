"""The end of an engine that sleeps: the whole group, whoever left it, what it had on this machine, and at last its record."""

import asyncio

from fleetform.host import ending, exits, processes, records
from fleetform.host.engines.base import mark
from fleetform.host.layout import Layout
from fleetform.host.pool.sleeper import Sleeper
from fleetform.steps import Step, step

GRACE_S = 5.0


async def end(layout: Layout, found: Sleeper) -> str | None:
    """End it and everything of it, and return None; or a sentence about processes of its session that may be a stranger's."""
    step(Step.EVICT_BEFORE)
    gone = asyncio.ensure_future(exits.gone(found.identity))
    try:
        home, scratch = layout.work(found.engine_id), layout.scratch(found.engine_id)
        await asyncio.to_thread(processes.end_group, found.identity, home, GRACE_S)
        await asyncio.to_thread(processes.end_strays, found.identity, home, mark(scratch))
        await asyncio.wait({gone}, timeout=GRACE_S)
    finally:
        gone.cancel()
    doubt = await asyncio.to_thread(ending.left_in_doubt, layout, found.engine_id, found.identity)
    if doubt is not None:
        return doubt
    step(Step.EVICT_GROUP_GONE)
    await asyncio.to_thread(ending.clean, layout, found.engine_id)
    await asyncio.to_thread(records.remove, layout.sleeper(found.engine_id))
    step(Step.EVICTED)
    return None
