"""Puts what hosts measure now beside what the store knows of replicas. What nobody says now is None."""

from collections.abc import Collection, Mapping
from datetime import datetime

import msgspec

from fleetform.domain.load import EngineLoad, HostLoad
from fleetform.domain.protocol import HostReplica
from fleetform.domain.replica import ReplicaPhase, ReplicaView
from fleetform.planner.phases import PLACE

FRESH_S = 10.0
"""How old a measurement may be to be shown. A hung engine, and a proxy that is away, leave old ones."""
_ROUTED = (ReplicaPhase.READY, ReplicaPhase.DRAINING)
_STARTING = (ReplicaPhase.PLACING, ReplicaPhase.FETCHING, ReplicaPhase.STARTING)


def with_load(views: Collection[ReplicaView], loads: Collection[HostLoad]) -> tuple[ReplicaView, ...]:
    """views with what is under way at each, over all gateways, and what its engine says of itself."""
    gateways = [load.gateway for load in loads if load.gateway is not None and _is_fresh(load, load.gateway.at)]
    under_way: dict[str, int] = {}
    for replica in (replica for gateway in gateways for replica in gateway.replicas):
        under_way[replica.replica_id] = under_way.get(replica.replica_id, 0) + replica.in_flight
    engines = {engine.replica_id: (engine, _is_fresh(load, engine.at)) for load in loads for engine in load.engines}

    def shown(view: ReplicaView) -> ReplicaView:
        in_flight = under_way.get(view.id, 0) if gateways and view.phase in _ROUTED else None
        engine, fresh = engines.get(view.id, (None, False))
        return msgspec.structs.replace(view, in_flight=in_flight, **_of_engine(engine, fresh=fresh))

    return tuple(map(shown, views))


def starting(views: Collection[ReplicaView]) -> dict[str, str]:
    """Replica id → host, of the starts that are under way."""
    return {view.id: view.host for view in views if view.phase in _STARTING and view.host is not None}


def with_starts(views: Collection[ReplicaView], told: Mapping[str, HostReplica]) -> tuple[ReplicaView, ...]:
    """views with the phases of starts as their hosts tell them now: the rows have what was told when a replica last moved on."""

    def shown(view: ReplicaView) -> ReplicaView:
        phases = told[view.id].phases if view.id in told else ()
        placed = tuple(phase for phase in view.phases if phase.name == PLACE)
        return msgspec.structs.replace(view, phases=(*placed, *phases)) if phases else view

    return tuple(map(shown, views))


def _of_engine(engine: EngineLoad | None, *, fresh: bool) -> dict[str, float | int | None]:
    """The memory is read from the kernel, whatever the engine says."""
    if engine is None:
        return {}
    return {"memory_mib": engine.memory_mib, "kv_usage": engine.kv_usage if fresh else None}


def _is_fresh(load: HostLoad, measured_at: datetime) -> bool:
    """By the clock of the host that measured, and answered."""
    return load.at is None or (load.at - measured_at).total_seconds() <= FRESH_S
