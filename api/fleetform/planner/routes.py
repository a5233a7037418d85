"""What the gateways are told of one endpoint."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from fleetform.domain.desired import Desired
from fleetform.domain.replica import Replica, ReplicaPhase
from fleetform.domain.rollout import RolloutState, StartTimes
from fleetform.gateway.snapshot import EndpointRoute, Target, TrackRoute

_ON_THE_WAY = (ReplicaPhase.PLACING, ReplicaPhase.FETCHING, ReplicaPhase.STARTING)
STARTING_RETRY_S = 5
STALLED_RETRY_S = 60


def route(
    desired: Desired,
    state: RolloutState | None,
    replicas: tuple[Replica, ...],
    serving: frozenset[str],
    phase: str,
    start_times: Mapping[str, StartTimes],
) -> EndpointRoute:
    """The endpoint's route. serving: ids of replicas whose engine answers. phase: what the activator says while nothing is ready.

    start_times: by track id, as far as they are known. A declared endpoint has a route from its first moment, so that it is never
    `model_not_found`.
    """
    weights = {} if state is None else state.in_force
    targets: dict[str, list[Target]] = {}
    for replica in sorted(replicas, key=lambda r: r.replica_id):
        target = _target(replica, serving)
        if target is not None:
            targets.setdefault(replica.track, []).append(target)
    tracks = tuple(
        TrackRoute(
            track=track,
            version=_version(track, state, replicas),
            weight=weights.get(track, 0),
            targets=tuple(targets.get(track, ())),
        )
        for track in sorted(targets.keys() | weights.keys())
    )
    open_targets = any(not target.draining for track in tracks if track.weight for target in track.targets)
    start = _Start() if open_targets else _start(state, replicas, start_times)
    return EndpointRoute(
        project=desired.project,
        endpoint=desired.name,
        generation=desired.generation,
        created=int(desired.created_at.timestamp()),
        tracks=tracks,
        phase="Ready" if open_targets else phase,
        reason="" if open_targets or state is None else _failure(state),
        retry_after_s=STALLED_RETRY_S if not open_targets and phase in ("Stalled", "Deleting") else STARTING_RETRY_S,
        start_s=start.usual_s,
        start_slow_s=start.slow_s,
        start_began=start.began,
        request_timeout_s=desired.effective.request_timeout_s,
        command_engine=state is not None and any(state.tracks[t].command is not None for t in weights if t in state.tracks),
        log_content=desired.effective.logging_content,
    )


class _Start(NamedTuple):
    """What the activator reckons with while nothing is ready; see `EndpointRoute`. Absolute, so that a route does not change with time."""

    usual_s: int = 0
    slow_s: int = 0
    began: int = 0


def _start(state: RolloutState | None, replicas: tuple[Replica, ...], start_times: Mapping[str, StartTimes]) -> _Start:
    """Of the tracks that get traffic; the quickest of them ends the wait."""
    wanted = set() if state is None else {track for track, weight in (state.in_force or state.new).items() if weight}
    times = min((start_times[track] for track in wanted if track in start_times), key=lambda t: t.p50_s, default=None)
    began = min((int(r.created_at.timestamp()) for r in replicas if r.phase in _ON_THE_WAY and r.track in wanted), default=0)
    return _Start(began=began) if times is None else _Start(math.ceil(times.p50_s), math.ceil(times.p95_s), began)


def _failure(state: RolloutState) -> str:
    """Why its starts fail, in one word, where they do."""
    return next((failure.reason for _, failure in sorted(state.failures.items())), "")


def _target(replica: Replica, serving: frozenset[str]) -> Target | None:
    if replica.address is None:
        return None
    draining = replica.phase is ReplicaPhase.DRAINING
    routed = replica.phase is ReplicaPhase.READY or (replica.phase is ReplicaPhase.STARTING and replica.replica_id in serving)
    if not draining and not routed:
        return None
    return Target(replica_id=replica.replica_id, address=replica.address, draining=draining)


def _version(track: str, state: RolloutState | None, replicas: tuple[Replica, ...]) -> str:
    if state is not None and track in state.tracks:
        ref = state.tracks[track].model_version
    else:
        ref = next(r.model_version for r in replicas if r.track == track)
    return ref.partition(":")[2]
