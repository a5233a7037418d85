"""What can happen, by chance; and the healing, after which everything must arrive."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable, Coroutine, Iterator
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

import msgspec

from fleetform import settings as configuration
from fleetform.domain.conditions import ConditionType, Reason, condition
from fleetform.domain.decode import decode
from fleetform.domain.effective import effective
from fleetform.domain.endpoint_spec import EndpointSpec
from fleetform.domain.machine import Shape
from fleetform.domain.protocol import ForgetReplica
from fleetform.drivers.pretended import Fault, Script
from fleetform.gateway.snapshot import RoutingSnapshot
from fleetform.reconciler import endpoints as endpoint_loop
from fleetform.reconciler import starts, watch
from fleetform.reconciler.deps import Deps
from tests.builders import NOON, a_host
from tests.planner.world import a_version
from tests.simulation.machines import Broken, Machines
from tests.simulation.memory import PROJECT, EndpointRow, Memory
from tests.simulation.points import Fate, Point, Points
from tests.simulation.servers import Server

TYPE = "gpu"
SHAPES = {TYPE: Shape(cpu_millis=100, memory_mib=1024, accelerator="a10", accelerator_count=1)}
NAMES = ("chat", "code")
VERSIONS = ("v1", "v2", "v3")
EVENTS = 200
ROUNDS = 400
SLOW_PASS_S = 300
BAD_FATE = 0.12
"""How often a call that may end badly does."""
SETTINGS = configuration.load({"FLEETFORM_HOME": "/nonexistent/simulation"})


class NotConverged(AssertionError):
    """After the healing, something did not arrive where it can."""


class World:
    """Everything. tell: called with a line for whatever happens."""

    def __init__(self, seed: int, tell: Callable[[str], None]) -> None:
        self.chance = random.Random(seed)
        self.tell = tell
        self.now = NOON
        self.points = Points(tell)
        hosts = tuple(a_host(f"host-{number}", gpus=self.chance.randint(1, 4)) for number in range(1, self.chance.randint(2, 3) + 1))
        versions = {f"m:{name}": a_version(name) for name in VERSIONS}
        quotas = {TYPE: self.chance.randint(2, 8)}
        self.memory = Memory(self.points, SHAPES, quotas, versions, lambda: self.now)
        self.machines = Machines(self.points, hosts, self._is_wanted)
        self.servers: list[Server] = []
        self.old_snapshots: list[RoutingSnapshot] = []
        self.mended = False
        self._spawned: list[asyncio.Task[None]] = []
        self._ids = itertools.count(1)
        self._sweep_at = self.now + timedelta(seconds=SLOW_PASS_S)

    async def run(self) -> None:
        """The faults, the healing, the end. Broken or NotConverged."""
        self._start_server(holder_is_dead=True)
        self._put()
        events = self._events()
        names, weights = list(events), [weight for weight, _ in events.values()]
        for _ in range(EVENTS):
            events[self.chance.choices(names, weights)[0]][1]()
            await self._settle()
            self.check()
        self._heal()
        await self._converge()
        self._mend()
        await self._converge()
        await self._restart_quietly()

    def check(self) -> None:
        """What must hold at every moment."""
        self.machines.check()
        reserved = self.memory.reserved(TYPE)
        if reserved > self.memory.quotas[TYPE]:
            raise Broken(f"{reserved} reservations, and the quota is {self.memory.quotas[TYPE]}")
        for replica_id in self.machines.running():
            row = self.memory.replicas.get(replica_id)
            if row is not None and replica_id not in self.memory.reservations:
                raise Broken(f"{replica_id} runs as {row.phase} and holds no reservation")

    # What happens.

    def _events(self) -> dict[str, tuple[int, Callable[[], None]]]:
        """Name → how often, and what it does."""
        return {
            "call": (60, self._end_a_call),
            "work": (30, self._look),
            "report": (30, self._report),
            "engines": (20, self._tick),
            "time": (8, self._pass_time),
            "put": (4, self._put),
            "delete": (1, self._delete),
            "quota": (1, self._change_quota),
            "kill": (2, self._kill_server),
            "stop": (2, self._stop_server),
            "continue": (3, self._continue_server),
            "engine ends": (3, self._end_an_engine),
            "script": (3, self._change_script),
            "restore": (1, self._restore_gateway),
            "late": (3, self._deliver_late),
        }

    def _end_a_call(self) -> None:
        waiting = [point for point in self.points.waiting if not point.server.stopped]
        if waiting:
            # The oldest twice as often: a call is seldom overtaken by many others.
            self._end(self.chance.choice([waiting[0], *waiting]))

    def _end(self, point: Point) -> None:
        bad = point.fates[1:]
        fate = self.chance.choice(bad) if bad and self.chance.random() < BAD_FATE else Fate.OK
        if fate is not Fate.OK:
            self.tell(f"{point.server.name}: {point.what}: {fate}")
        self.points.release(point, fate)

    def _look(self) -> None:
        for server in self.servers:
            if server.acts:
                server.look()
        if not any(server.acts for server in self.servers):
            self._start_server(holder_is_dead=not any(server.stopped for server in self.servers))

    def _report(self) -> None:
        acting = [server for server in self.servers if server.acts]
        for server in acting:
            for machine in self.machines.everywhere():
                host = machine.capacity.host
                if host in server.asked:
                    self._spawn(server.take_report(host, forgetful=self.chance.random() < 0.1))
                elif server.is_behind(host):
                    server.ask(host)

    def _tick(self) -> None:
        self.machines.tick(self.chance.choice([machine.capacity.host for machine in self.machines.everywhere()]))
        self.machines.settle_gateway()

    def _pass_time(self) -> None:
        self._advance(self.chance.choice((0.5, 2.0, 5.0, 20.0, 70.0)))

    def _put(self) -> None:
        name = self.chance.choice(NAMES)
        chosen = self.chance.sample(VERSIONS, self.chance.choice((1, 1, 2)))
        weights = (100,) if len(chosen) == 1 else self.chance.choice(((50, 50), (90, 10), (100, 0)))
        body = {
            "instance_type": TYPE,
            "variants": {v: {"model_version": f"m:{v}", "weight": weight} for v, weight in zip(chosen, weights, strict=True)},
            "scaling": {"min_replicas": self.chance.randint(1, 3)},
            "rollout": {
                "steps": self.chance.choice(([100], [50, 100], [10, 50, 100])),
                "step_hold_s": self.chance.choice((0, 5)),
                "bake_s": self.chance.choice((0, 30)),
            },
        }
        accepted = self.memory.put(name, effective(decode(EndpointSpec, body)))
        self.tell(f"put {name} {dict(zip(chosen, weights, strict=True))} x{body['scaling']['min_replicas']}: {accepted}")  # type: ignore[index]
        self._notify(name)

    def _delete(self) -> None:
        name = self.chance.choice(NAMES)
        self.tell(f"delete {name}: {self.memory.delete(name)}")
        self._notify(name)

    def _change_quota(self) -> None:
        limit = self.chance.randint(1, 8)
        self.tell(f"quota {limit}: {self.memory.set_quota(TYPE, limit)}")
        for name in NAMES:
            self._notify(name)

    def _kill_server(self) -> None:
        if not self.servers:
            return
        server = self.chance.choice(self.servers)
        self.tell(f"{server.name}: killed")
        server.die()
        self.servers.remove(server)
        if self.chance.random() < 0.7:
            self._start_server(holder_is_dead=server.epoch == self.memory.epoch)

    def _stop_server(self) -> None:
        """Stopped for longer than its lease, and another one takes over."""
        acting = [server for server in self.servers if server.acts]
        if acting:
            server = self.chance.choice(acting)
            self.tell(f"{server.name}: stopped")
            server.stopped = True
            self._advance(16.0)
            self._start_server(holder_is_dead=False)

    def _continue_server(self) -> None:
        stopped = [server for server in self.servers if server.stopped]
        if stopped:
            self.tell(f"{stopped[0].name}: goes on")
            stopped[0].stopped = False

    def _end_an_engine(self) -> None:
        running = sorted(self.machines.running())
        if running:
            replica_id = self.chance.choice(running)
            self.tell(f"engine {replica_id} ends")
            self.machines.end(replica_id)

    def _change_script(self) -> None:
        engines = {"m:v3": self.chance.choice(tuple(Fault))} if self.chance.random() < 0.5 else {}
        names = [machine.capacity.host for machine in self.machines.everywhere()]
        lost = tuple(name for name in names if self.chance.random() < 0.2)
        script = Script(engines=engines, lost=lost, deaf=self.chance.random() < 0.2, slow=self.chance.randint(0, 3))
        self.tell(f"script {script}")
        self.machines.script = script

    def _restore_gateway(self) -> None:
        """The gateway's disk is as it was a while ago."""
        if self.old_snapshots:
            snapshot = self.chance.choice(self.old_snapshots)
            self.tell(f"gateway restored to {snapshot.version & 0xFFFFFFFF} of {snapshot.epoch}")
            self.machines.replace_snapshot(snapshot)
            self.machines.restored = True
            self.machines.settle_gateway()
        self.old_snapshots.append(self.machines.snapshot())

    def _deliver_late(self) -> None:
        if self.machines.late:
            host, request = self.machines.late.pop(0)
            self.tell(f"{request.command_id} arrives late")
            self._spawn(self.machines.arrive_late(host, request))

    # How the world goes round.

    def _start_server(self, *, holder_is_dead: bool) -> None:
        epoch = self.memory.take(holder_is_dead=holder_is_dead)
        if epoch is None:
            return
        deps = Deps(SETTINGS, self.machines, mock.sentinel.key, "", lambda: self.now, lambda: f"{next(self._ids):032x}", 10.0)
        server = Server(f"server {epoch}", epoch, deps, self.memory, self.machines)
        self.tell(f"{server.name}: leads")
        self.servers.append(server)

    def _notify(self, name: str) -> None:
        row = self.memory.living(name)
        for server in self.servers:
            if row is not None:
                server.hear(row.uid)

    def _advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        leader = next((server for server in self.servers if server.epoch == self.memory.epoch), None)
        if leader is not None and leader.acts:
            self.memory.renew()
        for server in self.servers:
            if server.acts and server.epoch != self.memory.epoch and self.chance.random() < 0.5:
                self.tell(f"{server.name}: learns that it does not lead")
                server.die()
        self.servers = [server for server in self.servers if not server.over]
        if self.now >= self._sweep_at:
            self._sweep_at = self.now + timedelta(seconds=SLOW_PASS_S)
            for server in self.servers:
                server.term._sweep_now.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._spawned.append(asyncio.get_running_loop().create_task(work))

    async def _settle(self) -> None:
        """Until every task waits at a point."""
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
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

    def _heal(self) -> None:
        """Nothing goes wrong from here on, but for a version whose engines may be broken for good."""
        self.tell("everything heals")
        engines = self.machines.script.engines if self.chance.random() < 0.5 else {}
        self.machines.script = Script(engines={v: fault for v, fault in engines.items() if fault is not Fault.HANG})
        for server in self.servers:
            server.stopped = False
        self.servers = [server for server in self.servers if server.epoch == self.memory.epoch or not server.die()]
        for server in tuple(self.servers):
            if server.epoch != self.memory.epoch:
                self.servers.remove(server)

    def _mend(self) -> None:
        """The user asks for what can run, where an endpoint came to an end without being ready."""
        self.machines.script = Script()
        self.mended = True
        for row in self.memory.endpoints.values():
            if row.alive and not row.status.ready:
                body = {"instance_type": TYPE, "variants": {"v1": {"model_version": "m:v1"}}, "rollout": {"steps": [100], "retry": "again"}}
                self.tell(f"mend {row.name}: {self.memory.put(row.name, effective(decode(EndpointSpec, body)))}")
                self._notify(row.name)

    async def _converge(self) -> None:
        for _ in range(ROUNDS):
            await self._quiet()
            failing = any(server.term._failures for server in self.servers)
            if not failing and all(self._has_arrived(row) for row in self.memory.endpoints.values()):
                self._check_end()
                return
            self._advance(self._until_next())
        rows = [(row.name, row.deleting, msgspec.to_builtins(row.status)) for row in self.memory.endpoints.values() if row.alive]
        raise NotConverged(f"not after {ROUNDS} rounds: {rows}; {self.memory.replicas}; {self.machines.running()}")

    async def _quiet(self) -> None:
        """Until nothing moves at this moment. Every host is asked at least twice: a quiet one answers after a while, too."""
        for number in range(ROUNDS):
            moved = bool(self.points.waiting)
            for point in tuple(self.points.waiting):
                self.points.release(point, Fate.OK)
            while self.machines.late:
                await self.machines.arrive_late(*self.machines.late.pop(0))
            await self._settle()
            self.check()
            if not self.servers:
                self._start_server(holder_is_dead=True)
            before = sum(machine.seq for machine in self.machines.everywhere())
            self.machines.tick()
            self.machines.settle_gateway()
            moved |= before != sum(machine.seq for machine in self.machines.everywhere())
            for server in self.servers:
                for machine in self.machines.everywhere():
                    if number < 2 or server.is_behind(machine.capacity.host):
                        moved = True
                        server.ask(machine.capacity.host)
                        await server.take_report(machine.capacity.host)
                moved |= server.look()
            await self._settle()
            if not moved and not self.points.waiting:
                return
        raise NotConverged(f"still busy after {ROUNDS} rounds at one moment")

    def _until_next(self) -> float:
        due = [server.term.queue.next_at for server in self.servers]
        soon = min((at for at in due if at is not None), default=self._sweep_at)
        return max(0.001, (min(soon, self._sweep_at) - self.now).total_seconds())

    def _has_arrived(self, row: EndpointRow) -> bool:
        """Ready, gone, or where only a person can help: no room, stalled, rolled back, crashing beside what serves."""
        if not row.alive:
            return True
        if row.deleting or row.status.observed_generation < row.generation:
            return False
        if row.status.ready:
            return True
        found = {type_: condition(row.status.conditions, type_) for type_ in ConditionType}
        progressing, ready, admitted = found[ConditionType.PROGRESSING], found[ConditionType.READY], found[ConditionType.ADMITTED]
        if admitted is not None and not admitted.status and self._has_no_room():
            return True
        if self.mended:
            return False
        degraded = found[ConditionType.DEGRADED]
        if row.status.replicas.ready and degraded is not None and degraded.reason in (Reason.CRASH_LOOP, Reason.OOM_KILLED):
            return True
        if progressing is not None and not progressing.status and progressing.reason is Reason.STALLED:
            return True
        return ready is not None and not ready.status and ready.reason is Reason.ROLLED_BACK

    def _has_no_room(self) -> bool:
        """No device is free, or the quota is used up."""
        taken = {device for reservation, _, _ in self.memory.reservations.values() for device in reservation.devices}
        devices = {device.uuid for machine in self.machines.everywhere() for device in machine.capacity.devices}
        return taken == devices or self.memory.used(TYPE, but=None) >= self.memory.quotas[TYPE]

    def _check_end(self) -> None:
        """Rows, engines and routes agree."""
        running = self.machines.running()
        if set(running) - self.memory.replicas.keys():
            raise NotConverged(f"engines without a row: {set(running) - self.memory.replicas.keys()}")
        if self.memory.reservations.keys() - running.keys():
            raise NotConverged(f"reservations without an engine: {self.memory.reservations.keys() - running.keys()}")
        routes = self.machines.in_force.routes
        for row in self.memory.endpoints.values():
            if row.alive and row.status.ready:
                open_now = {t.replica_id for track in routes[f"{PROJECT}/{row.name}"].tracks for t in track.targets if not t.draining}
                if not open_now & set(running):
                    raise NotConverged(f"{row.name} is ready, and nothing that serves is routed")

    async def _restart_quietly(self) -> None:
        """A server that finds everything as it should be writes nothing, and at most tidies up: a lost forget is sent again then."""
        commands, writes = len(self.machines.commands), self.memory.writes
        for server in self.servers:
            server.die()
        self.servers = []
        self._start_server(holder_is_dead=True)
        await self._quiet()
        sent = [request for request in self.machines.commands[commands:] if not isinstance(request.command, ForgetReplica)]
        if sent:
            raise NotConverged(f"a restarted server sends {sent}")
        if self.memory.writes != writes:
            raise NotConverged(f"a restarted server writes {self.memory.writes - writes} times")

    def _is_wanted(self, key: str) -> bool:
        row = self.memory.living(key.partition("/")[2])
        return row is not None and not row.deleting


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


def simulate(seed: int, tell: Callable[[str], None] = lambda _: None) -> datetime:
    """Run one seed; when it ended, by its clock. Broken, NotConverged, or whatever the reconciler raised."""

    async def run() -> datetime:
        world = World(seed, tell)
        with memory_for_the_loop(world.memory):
            try:
                await world.run()
            finally:
                for server in world.servers:
                    server.die()
                await asyncio.sleep(0)
        return world.now

    return asyncio.run(run())
