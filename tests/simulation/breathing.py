"""Replicas become fewer and more once all is well: engines fall asleep, are woken, and go with their endpoints."""

import msgspec

from tests.simulation import chance, healing
from tests.simulation.memory import EndpointRow
from tests.simulation.world import World

EVENTS = 40
"""How much happens between two counts."""
COUNTS = (3, 1, 2)
UNRELATED = frozenset({chance.put, chance.end_an_engine, chance.change_script})
"""What does not happen then. Of two replicas one may go while nobody knows yet that the other has ended: that loses the last one."""


async def breathe(world: World) -> None:
    """Each count, what happens meanwhile, and the healing. Before the last one an endpoint may be deleted."""
    for count in COUNTS:
        for row in tuple(world.memory.endpoints.values()):
            if row.alive and not row.deleting:
                _count(world, row, count)
        if count == COUNTS[-1] and world.chance.random() < 0.5:
            chance.delete(world)
        for _ in range(EVENTS):
            chance.happen(world, UNRELATED)
            await world.settle()
            world.check()
        healing.heal(world)
        await healing.converge(world)


def _count(world: World, row: EndpointRow, count: int) -> None:
    """The same as before, with another number of replicas."""
    count = max(count, len(row.effective.variants))
    accepted = world.memory.put(row.name, msgspec.structs.replace(row.effective, min_replicas=count, max_replicas=count))
    world.tell(f"count {row.name} x{count}: {accepted}")
    world.notify(row.name)
