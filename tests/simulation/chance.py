"""What can happen, by chance."""

from collections.abc import Callable, Collection

from fleetform.domain.decode import decode
from fleetform.domain.effective import effective
from fleetform.domain.endpoint_spec import EndpointSpec
from fleetform.drivers.pretended import Fault, Script
from tests.simulation.points import Fate, Point
from tests.simulation.world import NAMES, SHAPES, VERSIONS, World

BAD_FATE = 0.12
"""How often a call that may end badly does."""


def happen(world: World, but: Collection[Callable[[World], None]] = ()) -> None:
    """One event, as often as EVENTS has it, and none of but."""
    events = {event: often for event, often in EVENTS.items() if event not in but}
    (event,) = world.chance.choices(list(events), list(events.values()))
    event(world)


def end_a_call(world: World) -> None:
    waiting = [point for point in world.points.waiting if not point.server.stopped]
    if waiting:
        # The oldest twice as often: a call is seldom overtaken by many others.
        _end(world, world.chance.choice([waiting[0], *waiting]))


def _end(world: World, point: Point) -> None:
    bad = point.fates[1:]
    fate = world.chance.choice(bad) if bad and world.chance.random() < BAD_FATE else Fate.OK
    if fate is not Fate.OK:
        world.tell(f"{point.server.name}: {point.what}: {fate}")
    world.points.release(point, fate)


def look(world: World) -> None:
    for server in world.servers:
        if server.acts:
            server.look()
    if not any(server.acts for server in world.servers):
        world.start_server(holder_is_dead=not any(server.stopped for server in world.servers))


def report(world: World) -> None:
    acting = [server for server in world.servers if server.acts]
    for server in acting:
        for machine in world.machines.everywhere():
            host = machine.capacity.host
            if host in server.asked:
                world.spawn(server.take_report(host, forgetful=world.chance.random() < 0.1))
            elif server.is_behind(host):
                server.ask(host)


def tick(world: World) -> None:
    world.machines.tick(world.chance.choice([machine.capacity.host for machine in world.machines.everywhere()]))
    world.machines.settle_gateway()


def pass_time(world: World) -> None:
    world.advance(world.chance.choice((0.5, 2.0, 5.0, 20.0, 70.0)))


def put(world: World) -> None:
    name = world.chance.choice(NAMES)
    chosen = world.chance.sample(VERSIONS, world.chance.choice((1, 1, 2)))
    instance_type = world.chance.choices(tuple(SHAPES), (4, 1))[0]
    weights = (100,) if len(chosen) == 1 else world.chance.choice(((50, 50), (90, 10), (100, 0)))
    body = {
        "instance_type": instance_type,
        "variants": {v: {"model_version": f"m:{v}", "weight": weight} for v, weight in zip(chosen, weights, strict=True)},
        "scaling": {"min_replicas": world.chance.randint(1, 3)},
        "rollout": {
            "steps": world.chance.choice(([100], [50, 100], [10, 50, 100])),
            "step_hold_s": world.chance.choice((0, 5)),
            "bake_s": world.chance.choice((0, 30)),
        },
    }
    wanted = effective(decode(EndpointSpec, body))
    accepted = world.memory.put(name, wanted)
    split = dict(zip(chosen, weights, strict=True))
    world.tell(f"put {name} {split} x{wanted.min_replicas} on {instance_type}: {accepted}")
    world.notify(name)


def delete(world: World) -> None:
    name = world.chance.choice(NAMES)
    world.tell(f"delete {name}: {world.memory.delete(name)}")
    world.notify(name)


def change_quota(world: World) -> None:
    instance_type, limit = world.chance.choice(tuple(SHAPES)), world.chance.randint(1, 8)
    world.tell(f"quota {limit} of {instance_type}: {world.memory.set_quota(instance_type, limit)}")
    for name in NAMES:
        world.notify(name)


def kill_server(world: World) -> None:
    if not world.servers:
        return
    server = world.chance.choice(world.servers)
    world.tell(f"{server.name}: killed")
    server.die()
    world.servers.remove(server)
    if world.chance.random() < 0.7:
        world.start_server(holder_is_dead=server.epoch == world.memory.epoch)


def stop_server(world: World) -> None:
    """Stopped for longer than its lease, and another one takes over."""
    acting = [server for server in world.servers if server.acts]
    if acting:
        server = world.chance.choice(acting)
        world.tell(f"{server.name}: stopped")
        server.stopped = True
        world.advance(16.0)
        world.start_server(holder_is_dead=False)


def continue_server(world: World) -> None:
    stopped = [server for server in world.servers if server.stopped]
    if stopped:
        world.tell(f"{stopped[0].name}: goes on")
        stopped[0].stopped = False


def end_an_engine(world: World) -> None:
    running = sorted(world.machines.running())
    if running:
        replica_id = world.chance.choice(running)
        world.tell(f"engine {replica_id} ends")
        world.machines.end(replica_id)


def end_a_sleeper(world: World) -> None:
    asleep = sorted(world.machines.asleep())
    if asleep:
        engine_id = world.chance.choice(asleep)
        world.tell(f"engine {engine_id} ends in its sleep")
        world.machines.lose_sleeper(engine_id)


def change_script(world: World) -> None:
    engines = {"m:v3": world.chance.choice(tuple(Fault))} if world.chance.random() < 0.5 else {}
    names = [machine.capacity.host for machine in world.machines.everywhere()]
    lost = tuple(name for name in names if world.chance.random() < 0.2)
    script = Script(engines=engines, lost=lost, deaf=world.chance.random() < 0.2, slow=world.chance.randint(0, 3))
    world.tell(f"script {script}")
    world.machines.script = script


def restore_gateway(world: World) -> None:
    """The gateway's disk is as it was a while ago."""
    if world.old_snapshots:
        snapshot = world.chance.choice(world.old_snapshots)
        world.tell(f"gateway restored to {snapshot.version & 0xFFFFFFFF} of {snapshot.epoch}")
        world.machines.replace_snapshot(snapshot)
        world.machines.restored = True
        world.machines.settle_gateway()
    world.old_snapshots.append(world.machines.snapshot())


def deliver_late(world: World) -> None:
    if world.machines.late:
        host, request = world.machines.late.pop(0)
        world.tell(f"{request.command_id} arrives late")
        world.spawn(world.machines.arrive_late(host, request))


EVENTS: dict[Callable[[World], None], int] = {
    end_a_call: 60,
    look: 30,
    report: 30,
    tick: 20,
    pass_time: 8,
    put: 4,
    delete: 1,
    change_quota: 1,
    kill_server: 2,
    stop_server: 2,
    continue_server: 3,
    end_an_engine: 3,
    end_a_sleeper: 1,
    change_script: 3,
    restore_gateway: 1,
    deliver_late: 3,
}
"""What may happen → how often, beside the others."""
