"""One seed, from its first event to its end."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime
from unittest import mock

from fleetform.reconciler import endpoints as endpoint_loop
from fleetform.reconciler import starts, watch
from tests.simulation import breathing, chance, healing
from tests.simulation.memory import Memory
from tests.simulation.world import World

EVENTS = 200
BREATHES = 0.4
"""How often the number of replicas moves once all is well."""


def simulate(seed: int, tell: Callable[[str], None] = lambda _: None) -> datetime:
    """Run one seed; when it ended, by its clock. Broken, NotConverged, or whatever the reconciler raised."""

    async def run() -> datetime:
        world = World(seed, tell)
        with memory_for_the_loop(world.memory):
            try:
                await live(world)
            finally:
                for server in world.servers:
                    server.die()
                await asyncio.sleep(0)
        return world.now

    return asyncio.run(run())


async def live(world: World) -> None:
    """The faults, the healing, the end."""
    world.start_server(holder_is_dead=True)
    chance.put(world)
    for _ in range(EVENTS):
        chance.happen(world)
        await world.settle()
        world.check()
    healing.heal(world)
    await healing.converge(world)
    if world.chance.random() < BREATHES:
        await breathing.breathe(world)
    healing.mend(world)
    await healing.converge(world, mended=True)
    await healing.restart_quietly(world)


@contextlib.contextmanager
def memory_for_the_loop(memory: Memory) -> Iterator[None]:
    """The loop's modules talk to memory instead of PostgreSQL."""
    with (
        mock.patch.object(endpoint_loop, "fleet", memory),
        mock.patch.object(endpoint_loop, "recording", memory),
        mock.patch.object(watch, "hosts", memory),
        mock.patch.object(starts, "starts", memory),
    ):
        yield
