"""What the gateways are told of one endpoint."""

from fleetform.domain.desired import Desired
from fleetform.domain.replica import Replica, ReplicaPhase
from fleetform.domain.rollout import RolloutState
from fleetform.gateway.snapshot import EndpointRoute, Target, TrackRoute

STARTING_RETRY_S = 5
STALLED_RETRY_S = 60


def route(
    desired: Desired, state: RolloutState | None, replicas: tuple[Replica, ...], serving: frozenset[str], phase: str
) -> EndpointRoute:
    """The endpoint's route. serving: ids of replicas whose engine answers. phase: what the activator says while nothing is ready.

    A declared endpoint has a route from its first moment, so that it is never `model_not_found`.
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
    open_targets = any(not target.draining for track in tracks for target in track.targets)
    return EndpointRoute(
        project=desired.project,
        endpoint=desired.name,
        generation=desired.generation,
        created=int(desired.created_at.timestamp()),
        tracks=tracks,
        phase="Ready" if open_targets else phase,
        retry_after_s=STALLED_RETRY_S if not open_targets and phase in ("Stalled", "Deleting") else STARTING_RETRY_S,
        request_timeout_s=desired.effective.request_timeout_s,
        command_engine=state is not None and any(state.tracks[t].command is not None for t in weights if t in state.tracks),
        log_content=desired.effective.logging_content,
    )


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
