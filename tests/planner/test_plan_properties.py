"""What holds for every plan, whatever is declared and whatever goes wrong."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetform.domain.effective import EffectiveEndpoint, EffectiveSlo
from fleetform.domain.machine import HostCapacity
from fleetform.domain.replica import FailureReason, ReplicaPhase
from fleetform.gateway.snapshot import problems
from fleetform.planner import plan
from fleetform.planner.model import Forget, Plan, Reserve, Start, Stop
from tests.builders import CPU_SHAPE, GPU_SHAPE, a_host, a_window, effective_endpoint
from tests.planner.world import World

VARIANTS = ("v1", "v2", "v3")
ROUNDS = 80


@st.composite
def splits(draw: st.DrawFn) -> dict[str, int]:
    """Weights over one to three variants that sum to 100; some may be 0."""
    names = draw(st.lists(st.sampled_from(VARIANTS), min_size=1, max_size=3, unique=True))
    cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=len(names) - 1, max_size=len(names) - 1)))
    return {name: high - low for name, low, high in zip(names, [0, *cuts], [*cuts, 100], strict=True)}


@st.composite
def wishes(draw: st.DrawFn, least: int = 1) -> EffectiveEndpoint:
    """least: of min_replicas. max_replicas leaves room for what the autoscaler may say."""
    found = effective_endpoint(
        draw(splits()),
        draw(st.integers(least, 4)),
        args={name: {"max_num_seqs": draw(st.sampled_from(["1", "2"]))} for name in VARIANTS},
        instance_type=draw(st.sampled_from(["cpu-small", "gpu-a10-1x"])),
        steps=draw(st.sampled_from([(100,), (1, 50, 100), (10, 100)])),
        step_hold_s=draw(st.sampled_from([0, 60])),
        bake_s=draw(st.sampled_from([0, 600])),
        strategy=draw(st.sampled_from(["surge", "surge", "swap"])),
        slo=draw(st.sampled_from([None, EffectiveSlo(error_rate=0.01, ttft_p95_ms=300)])),
    )
    return msgspec.structs.replace(found, max_replicas=max(1, found.max_replicas + draw(st.integers(0, 3))))


@st.composite
def worlds(draw: st.DrawFn, least: int = 1) -> World:
    hosts = tuple(a_host(f"host-{n}", gpus=draw(st.integers(0, 6)), cpu_millis=draw(st.sampled_from([2000, 64_000]))) for n in range(2))
    world = World(draw(wishes(least)), hosts=hosts, quota=draw(st.integers(4, 14)))
    world.shapes["gpu-a10-1x"] = GPU_SHAPE
    return world


figures = st.dictionaries(
    st.sampled_from(VARIANTS),
    st.builds(a_window, st.just(""), st.sampled_from([0, 5, 200]), st.sampled_from([0, 0, 100]), ttft_ms=st.sampled_from([100, 100, 900])),
)
EVENTS = st.sampled_from(
    ["put", "scale", "scale", "crash", "die", "break", "mend", "away", "back", "deaf", "hear", "wait", "wait long", "measure", "delete"]
)


def happen(world: World, event: str, data: st.DataObject) -> None:
    """Let one thing happen to the world."""
    if event == "put":
        world.put(data.draw(wishes(least=0)))
    elif event == "scale":
        world.scale(data.draw(st.integers(0, 8)))
    elif event == "crash" and world.seen:
        world.crash(data.draw(st.sampled_from(sorted(world.seen))))
    elif event == "die" and world.seen:
        world.die(data.draw(st.sampled_from(sorted(world.seen))))
    elif event == "break":
        world.broken[data.draw(st.sampled_from(VARIANTS))] = data.draw(st.sampled_from(list(FailureReason)))
    elif event == "mend":
        world.broken.clear()
    elif event == "away":
        world.away.add(data.draw(st.sampled_from([h.host for h in world.hosts])))
    elif event == "back":
        world.away.clear()
    elif event in ("deaf", "hear"):
        world.deaf = event == "deaf"
    elif event in ("wait", "wait long"):
        world.pass_time(5 if event == "wait" else 700)
    elif event == "measure":
        world.measured = data.draw(figures)
    elif event == "delete":
        world.deleting = True


def check(world: World, made: Plan) -> None:
    """The rules that hold for each single plan."""
    sent = [action for action in made.actions if isinstance(action, Start | Stop | Forget)]
    assert not {action.host for action in sent} & world.away, "something is sent to a host that does not answer"
    for action in made.actions:
        if isinstance(action, Reserve):
            assert action.reservation.host not in world.away
    devices = [(r.host, device) for r in world.reservations.values() for device in r.devices]
    assert len(devices) == len(set(devices)), "a device is given twice"
    for host in world.hosts:
        mine = [r for r in world.reservations.values() if r.host == host.host]
        assert sum(r.cpu_millis for r in mine) <= host.cpu_millis
        assert sum(r.memory_mib for r in mine) <= host.memory_mib
    if world.published is not None and world.published.route is not None:
        assert problems(world.published.route) == []
    if not made.status.ready and not world.deleting and made.status.rejected is None:
        waits = made.actions or made.blocked or made.next_at
        assert waits, "an endpoint that is not ready has neither an action nor a reason to wait"


@settings(max_examples=150, deadline=None)
@given(world=worlds(least=0), data=st.data())
def test_every_plan_keeps_the_rules_and_the_healed_world_comes_to_rest(world: World, data: st.DataObject) -> None:
    """Safety under any order of events; then everything is mended, and the plan becomes empty in a bounded number of rounds."""
    for event in data.draw(st.lists(EVENTS, max_size=12)):
        happen(world, event, data)
        for _ in range(data.draw(st.integers(1, 4))):
            if not world.buried:
                check(world, world.step())
    world.broken.clear()
    world.away.clear()
    world.deaf = False
    world.measured = {}
    for _ in range(12):
        for made in () if world.buried else world.settle(ROUNDS):
            check(world, made)
        world.pass_time(350)
    if world.deleting:
        assert world.buried
        assert not world.rows
        assert not world.reservations
        return
    last = world.settle(ROUNDS)[-1]
    assert last.actions == ()
    if not last.blocked and last.status.rejected is None:
        assert last.status.ready
        live = [r for r in world.rows.values() if r.phase is ReplicaPhase.READY]
        assert world.scaling is not None
        assert world.effective.min_replicas <= world.scaling.replicas <= max(world.effective.max_replicas, len(world.weights()))
        assert len(live) == (max(world.scaling.replicas, len(world.weights())) if world.scaling.replicas else 0)


@settings(max_examples=80, deadline=None)
@given(world=worlds(), second=wishes(), third=wishes(), data=st.data())
def test_a_rollout_never_has_fewer_ready_replicas_than_before(
    world: World, second: EffectiveEndpoint, third: EffectiveEndpoint, data: st.DataObject
) -> None:
    """From a served endpoint to any other split of as many replicas, superseded anywhere on the way: no outage and no dip.

    A rollback finds as many of the old side as its traffic needed: where there was no room, the others had made it for the new one.
    """
    world.settle(ROUNDS)
    if not world.status.ready:
        return
    floor = least = world.effective.min_replicas
    for wish in (second, third):
        world.measured = data.draw(figures)
        world.put(msgspec.structs.replace(wish, strategy="surge", min_replicas=floor))
        for _ in range(data.draw(st.integers(1, 25))):
            before, rejected = world.weights(), world.status.rejected
            world.step()
            world.pass_time(61)
            if world.status.rejected is not None and rejected is None:
                least = min(least, max(1, floor * sum(before.get(variant, 0) for variant in world.weights()) // 100))
            elif world.ready() >= floor:
                least = floor
            assert world.ready() >= least
            assert sum(world.weights().values()) == 100
            assert world.published is not None
            assert world.published.route is not None
            for track in world.published.route.tracks:
                assert track.weight == 0 or any(not target.draining for target in track.targets), f"{track.track} has traffic and no target"


@settings(max_examples=60, deadline=None)
@given(world=worlds(), data=st.data())
def test_the_same_input_gives_the_same_bytes_in_any_order(world: World, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(0, 12))):
        world.step()
    observed = world.observed
    assert observed.capacity is not None
    capacity = msgspec.structs.replace(
        observed.capacity,
        hosts=tuple(data.draw(st.permutations(observed.capacity.hosts))),
        reservations=tuple(data.draw(st.permutations(observed.capacity.reservations))),
    )
    shuffled = msgspec.structs.replace(observed, replicas=tuple(data.draw(st.permutations(observed.replicas))), capacity=capacity)
    effective = msgspec.structs.replace(world.effective, variants=dict(data.draw(st.permutations(list(world.effective.variants.items())))))
    again = msgspec.structs.replace(world.desired, effective=effective)
    first = plan(world.desired, observed, world.now)
    second = plan(again, shuffled, world.now)
    assert _plain(first) == _plain(second)


def _plain(made: Plan) -> bytes:
    """The plan as bytes; actions of different replicas may come in any order."""
    actions = sorted(msgspec.json.encode(action, order="deterministic") for action in made.actions)
    return b"\n".join([*actions, msgspec.json.encode(msgspec.structs.replace(made, actions=(), events=()), order="deterministic")])


@given(hosts=st.lists(st.integers(0, 4), min_size=1, max_size=3))
def test_hosts_of_any_size_are_filled_but_never_beyond(hosts: list[int]) -> None:
    capacities: tuple[HostCapacity, ...] = tuple(a_host(f"host-{n}", gpus=gpus) for n, gpus in enumerate(hosts))
    world = World(effective_endpoint(replicas=10, instance_type="gpu-a10-1x"), hosts=capacities, shape=CPU_SHAPE)
    world.shapes["gpu-a10-1x"] = GPU_SHAPE
    world.step()
    assert len(world.rows) == min(10, sum(hosts))
