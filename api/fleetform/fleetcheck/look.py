"""All facts together, and again until what was only on its way has arrived."""

import asyncio

from fleetform.fleetcheck import machine, rows
from fleetform.fleetcheck.checks import verdicts
from fleetform.fleetcheck.facts import Facts, Verdict
from fleetform.host import postgres
from fleetform.settings import Settings
from fleetform.store import database

AGAIN_S = 0.5


async def look(settings: Settings, within_s: float, canaries: tuple[str, ...] = ()) -> tuple[Verdict, ...]:
    """The verdicts, of the first look at which nothing is broken, or of the last one within within_s. DatabaseAway."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + within_s
    await database.connect(postgres.url(settings), pool_max=2)
    try:
        while True:
            facts = Facts(rows=await rows.read(canaries), machine=await machine.read(settings, canaries))
            found = verdicts(facts)
            if not any(verdict.broken for verdict in found) or clock() >= deadline:
                return found
            await asyncio.sleep(AGAIN_S)
    finally:
        await database.close()
