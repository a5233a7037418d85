"""The healing, after which everything must arrive."""

import msgspec

from fleetform.domain.conditions import ConditionType, Reason, condition
from fleetform.domain.decode import decode
from fleetform.domain.effective import effective
from fleetform.domain.endpoint_spec import EndpointSpec
from fleetform.domain.protocol import ForgetReplica
from fleetform.drivers.pretended import Fault, Script
from tests.simulation.memory import PROJECT, EndpointRow
from tests.simulation.points import Fate
from tests.simulation.world import World

ROUNDS = 400
"""More than any way to where everything rests takes."""


class NotConverged(AssertionError):
    """After the healing, something did not arrive where it can."""


def heal(world: World) -> None:
    """Nothing goes wrong from here on, but for a version whose engines may be broken for good."""
    world.tell("everything heals")
    engines = world.machines.script.engines if world.chance.random() < 0.5 else {}
    world.machines.script = Script(engines={v: fault for v, fault in engines.items() if fault is not Fault.HANG})
    for server in world.servers:
        server.stopped = False
        if server.epoch != world.memory.epoch:
            server.die()
    world.servers = [server for server in world.servers if not server.over]


def mend(world: World) -> None:
    """The user asks for what can run, where an endpoint came to an end without being ready."""
    world.machines.script = Script()
    for row in world.memory.endpoints.values():
        if row.alive and not row.status.ready:
            variants = {"v1": {"model_version": "m:v1"}}
            rollout = {"steps": [100], "retry": "again"}
            body = {"instance_type": row.effective.instance_type, "variants": variants, "rollout": rollout}
            world.tell(f"mend {row.name}: {world.memory.put(row.name, effective(decode(EndpointSpec, body)))}")
            world.notify(row.name)


async def converge(world: World, *, mended: bool = False) -> None:
    """Until every endpoint has arrived where it can. mended: that is to be ready, or gone, or without room. NotConverged."""
    for _ in range(ROUNDS):
        await _quiet(world)
        failing = any(server.term.passes.failures for server in world.servers)
        if not failing and all(_has_arrived(world, row, mended=mended) for row in world.memory.endpoints.values()):
            _check_end(world)
            return
        world.advance(_until_next(world))
    rows = [(row.name, row.deleting, msgspec.to_builtins(row.status)) for row in world.memory.endpoints.values() if row.alive]
    raise NotConverged(f"not after {ROUNDS} rounds: {rows}; {world.memory.replicas}; {world.machines.running()}")


async def _quiet(world: World) -> None:
    """Until nothing moves at this moment. Every host is asked at least twice: a quiet one answers after a while, too."""
    for number in range(ROUNDS):
        moved = bool(world.points.waiting)
        for point in tuple(world.points.waiting):
            world.points.release(point, Fate.OK)
        while world.machines.late:
            await world.machines.arrive_late(*world.machines.late.pop(0))
        await world.settle()
        world.check()
        if not world.servers:
            world.start_server(holder_is_dead=True)
        before = sum(machine.seq for machine in world.machines.everywhere())
        world.machines.tick()
        world.machines.settle_gateway()
        moved |= before != sum(machine.seq for machine in world.machines.everywhere())
        for server in world.servers:
            for machine in world.machines.everywhere():
                if number < 2 or server.is_behind(machine.capacity.host):
                    moved = True
                    server.ask(machine.capacity.host)
                    await server.take_report(machine.capacity.host)
            moved |= server.look()
        await world.settle()
        if not moved and not world.points.waiting:
            return
    raise NotConverged(f"still busy after {ROUNDS} rounds at one moment")


def _until_next(world: World) -> float:
    due = [server.term.queue.next_at for server in world.servers]
    soon = min((at for at in due if at is not None), default=world.sweep_at)
    return max(0.001, (min(soon, world.sweep_at) - world.now).total_seconds())


def _has_arrived(world: World, row: EndpointRow, *, mended: bool) -> bool:
    """Ready, gone, or where only a person can help: no room, stalled, rolled back, crashing beside what serves."""
    if not row.alive:
        return True
    if row.deleting or row.status.observed_generation < row.generation:
        return False
    if row.status.ready:
        return True
    found = {type_: condition(row.status.conditions, type_) for type_ in ConditionType}
    progressing, ready, admitted = found[ConditionType.PROGRESSING], found[ConditionType.READY], found[ConditionType.ADMITTED]
    if admitted is not None and not admitted.status and _has_no_room(world):
        return True
    if mended:
        return False
    degraded = found[ConditionType.DEGRADED]
    if row.status.replicas.ready and degraded is not None and degraded.reason in (Reason.CRASH_LOOP, Reason.OOM_KILLED):
        return True
    if progressing is not None and not progressing.status and progressing.reason is Reason.STALLED:
        return True
    return ready is not None and not ready.status and ready.reason is Reason.ROLLED_BACK


def _has_no_room(world: World) -> bool:
    """No device is free, or a quota is used up."""
    taken = {device for reservation, _, _ in world.memory.reservations.values() for device in reservation.devices}
    devices = {device.uuid for machine in world.machines.everywhere() for device in machine.capacity.devices}
    full = any(world.memory.used(instance_type, but=None) >= limit for instance_type, limit in world.memory.quotas.items())
    return taken == devices or full


def _check_end(world: World) -> None:
    """Rows, engines and routes agree."""
    running = world.machines.running()
    if set(running) - world.memory.replicas.keys():
        raise NotConverged(f"engines without a row: {set(running) - world.memory.replicas.keys()}")
    if world.memory.reservations.keys() - running.keys():
        raise NotConverged(f"reservations without an engine: {world.memory.reservations.keys() - running.keys()}")
    for engine in world.machines.asleep().values():
        row = world.memory.endpoints[engine.endpoint_uid]
        if not row.alive or (row.rollout is not None and engine.track_id not in row.rollout.tracks):
            raise NotConverged(f"an engine sleeps that nothing would wake: {engine}")
    routes = world.machines.in_force.routes
    for row in world.memory.endpoints.values():
        if row.alive and row.status.ready:
            open_now = {t.replica_id for track in routes[f"{PROJECT}/{row.name}"].tracks for t in track.targets if not t.draining}
            if not open_now & set(running):
                raise NotConverged(f"{row.name} is ready, and nothing that serves is routed")


async def restart_quietly(world: World) -> None:
    """A server that finds everything as it should be writes nothing, and at most tidies up: a lost forget is sent again then."""
    commands, writes = len(world.machines.commands), world.memory.writes
    for server in world.servers:
        server.die()
    world.servers = []
    world.start_server(holder_is_dead=True)
    await _quiet(world)
    sent = [request for request in world.machines.commands[commands:] if not isinstance(request.command, ForgetReplica)]
    if sent:
        raise NotConverged(f"a restarted server sends {sent}")
    if world.memory.writes != writes:
        raise NotConverged(f"a restarted server writes {world.memory.writes - writes} times")
