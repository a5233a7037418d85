"""Everything there is, what makes it move, and what must hold in it at every moment."""

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any
from unittest import mock

from fleetform import settings as configuration
from fleetform.domain.machine import Shape
from fleetform.gateway.snapshot import RoutingSnapshot
from fleetform.reconciler.deps import Deps
from tests.builders import NOON, a_host
from tests.planner.world import a_version
from tests.simulation.machines import Broken, Machines
from tests.simulation.memory import Memory
from tests.simulation.points import Points
from tests.simulation.servers import Server

SHAPES = {
    name: Shape(cpu_millis=100, memory_mib=memory_mib, accelerator="a10", accelerator_count=1)
    for name, memory_mib in (("gpu", 1024), ("gpu-wide", 2048))
}
NAMES = ("chat", "code")
VERSIONS = ("v1", "v2", "v3")
SLOW_PASS_S = 300
SETTINGS = configuration.load({"FLEETFORM_HOME": "/nonexistent/simulation"})


class World:
    """Everything. tell: called with a line for whatever happens.

    chance: of this seed alone; whoever asks it asks in an order that nothing but the seed decides.
    sweep_at: when the next slow pass is due. old_snapshots: what was on the gateway's disk.
    """

    def __init__(self, seed: int, tell: Callable[[str], None]) -> None:
        self.chance = random.Random(seed)
        self.tell = tell
        self.now = NOON
        self.points = Points(tell)
        hosts = tuple(a_host(f"host-{number}", gpus=self.chance.randint(1, 4)) for number in range(1, self.chance.randint(2, 3) + 1))
        versions = {f"m:{name}": a_version(name) for name in VERSIONS}
        quotas = {instance_type: self.chance.randint(2, 8) for instance_type in SHAPES}
        self.memory = Memory(self.points, SHAPES, quotas, versions, lambda: self.now)
        self.machines = Machines(self.points, hosts, self._is_wanted)
        self.servers: list[Server] = []
        self.sweep_at = self.now + timedelta(seconds=SLOW_PASS_S)
        self.old_snapshots: list[RoutingSnapshot] = []
        self._spawned: list[asyncio.Task[None]] = []
        self._ids = itertools.count(1)

    def check(self) -> None:
        """What must hold at every moment."""
        self.machines.check()
        for instance_type, limit in self.memory.quotas.items():
            reserved = self.memory.reserved(instance_type)
            if reserved > limit:
                raise Broken(f"{reserved} reservations of {instance_type}, and the quota is {limit}")
        for replica_id in self.machines.running():
            row = self.memory.replicas.get(replica_id)
            if row is not None and replica_id not in self.memory.reservations:
                raise Broken(f"{replica_id} runs as {row.phase} and holds no reservation")

    def start_server(self, *, holder_is_dead: bool) -> None:
        """Another server leads, unless one does whose lease has not run out. holder_is_dead: the lease is free at once."""
        epoch = self.memory.take(holder_is_dead=holder_is_dead)
        if epoch is None:
            return
        deps = Deps(SETTINGS, self.machines, mock.sentinel.key, "", lambda: self.now, lambda: f"{next(self._ids):032x}", 10.0)
        server = Server(f"server {epoch}", epoch, deps, self.memory, self.machines)
        self.tell(f"{server.name}: leads")
        self.servers.append(server)

    def notify(self, name: str) -> None:
        """The database tells every server that the endpoint has changed."""
        row = self.memory.living(name)
        for server in self.servers:
            if row is not None:
                server.hear(row.uid)

    def advance(self, seconds: float) -> None:
        """Time passes: the leader renews its lease, one that leads no more may learn it, and a slow pass may be due."""
        self.now += timedelta(seconds=seconds)
        leader = next((server for server in self.servers if server.epoch == self.memory.epoch), None)
        if leader is not None and leader.acts:
            self.memory.renew()
        for server in self.servers:
            if server.acts and server.epoch != self.memory.epoch and self.chance.random() < 0.5:
                self.tell(f"{server.name}: learns that it does not lead")
                server.die()
        self.servers = [server for server in self.servers if not server.over]
        if self.now >= self.sweep_at:
            self.sweep_at = self.now + timedelta(seconds=SLOW_PASS_S)
            for server in self.servers:
                server.term._sweep_now.set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin it; what it raises comes out of the next settle."""
        self._spawned.append(asyncio.get_running_loop().create_task(work))

    async def settle(self) -> None:
        """Until every task waits at a point. Raises what a server, or what was spawned, met that it should not."""
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # only the loop knows what is ready
        await asyncio.sleep(0)
        while ready:
            await asyncio.sleep(0)
        for task in self._spawned:
            task.result()
        self._spawned.clear()
        for server in self.servers:
            if server.error is not None:
                raise server.error
        self.servers = [server for server in self.servers if not server.over]

    def _is_wanted(self, key: str) -> bool:
        row = self.memory.living(key.partition("/")[2])
        return row is not None and not row.deleting
