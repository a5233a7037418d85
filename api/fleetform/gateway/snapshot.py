"""The routing snapshot: the only thing the data plane reads. Immutable, versioned, and able to check itself."""

import msgspec

from fleetform.domain.base import Record
from fleetform.domain.replica import SOCKET_PATH_MAX, Address, Tls, Unix


class Target(Record, frozen=True, kw_only=True):
    """One replica behind a route. draining: it finishes what it has and gets nothing new."""

    replica_id: str
    address: Address
    draining: bool = False


class TrackRoute(Record, frozen=True, kw_only=True):
    """One track's share. version: `model:version`'s version, for the access log. weight in percent; 0 gets nothing but stays known."""

    track: str
    version: str
    weight: int
    targets: tuple[Target, ...] = ()


class EndpointRoute(Record, frozen=True, kw_only=True):
    """How one endpoint is reached. Declared is enough: with no target the activator answers.

    created: seconds since the epoch, for `/v1/models`. phase, reason, retry_after_s: what the activator says while nothing is ready.
    start_s, start_slow_s: what half of its starts and nearly all of them took; 0: not known. start_began: when the one that is furthest
    began, in seconds since the epoch; 0: none is under way.
    command_engine: it carries no middleware of ours, so that the cluster ends what takes too long. log_content: `redacted` or `off`.
    """

    project: str
    endpoint: str
    generation: int
    created: int
    tracks: tuple[TrackRoute, ...] = ()
    phase: str = "Pending"
    reason: str = ""
    retry_after_s: int = 5
    start_s: int = 0
    start_slow_s: int = 0
    start_began: int = 0
    request_timeout_s: int = 300
    command_engine: bool = False
    log_content: str = "redacted"

    @property
    def key(self) -> str:
        """The cluster's name."""
        return f"{self.project}/{self.endpoint}"


class TrustedRegion(Record, frozen=True, kw_only=True):
    """A region whose keys are known. jwks: its public keys as JSON text. host: where its gateway is, for the error message."""

    region: str
    jwks: str
    host: str = ""


class Access(Record, frozen=True, kw_only=True):
    """Who may come in. home: our own region. revoked: credential id → seconds since the epoch when it would have expired."""

    home: TrustedRegion
    peers: tuple[TrustedRegion, ...] = ()
    revoked: dict[str, int] = {}


class SnapshotUpdate(Record, frozen=True, kw_only=True):
    """A change of the snapshot. (epoch, version) grows; a lower pair is refused.

    base: the version this update was made from; a host that is not there answers that it needs a full one. full: replaces all routes.
    access None: unchanged.
    """

    epoch: int
    version: int
    base: int
    full: bool = False
    upsert: tuple[EndpointRoute, ...] = ()
    remove: tuple[str, ...] = ()
    access: Access | None = None


class RoutingSnapshot(Record, frozen=True, kw_only=True):
    """All that is routed. routes: by key."""

    epoch: int = 0
    version: int = 0
    access: Access | None = None
    routes: dict[str, EndpointRoute] = {}


class Applied(Record, frozen=True, kw_only=True, tag="applied"):
    """The update is part of the snapshot. repeated: it had been before."""

    epoch: int
    version: int
    repeated: bool = False


class NeedsFull(Record, frozen=True, kw_only=True, tag="needs_full"):
    """The update was made from another version than the one stored here, which these two name: send a full one."""

    epoch: int
    version: int


class Superseded(Record, frozen=True, kw_only=True, tag="superseded"):
    """A higher (epoch, version), these two, is stored: the sender no longer leads, or reads an old state."""

    epoch: int
    version: int


class Inconsistent(Record, frozen=True, kw_only=True, tag="inconsistent"):
    """Routes that must not be published, in sentences. Nothing of the update was taken."""

    problems: tuple[str, ...]


PublishResult = Applied | NeedsFull | Superseded | Inconsistent


def judge(snapshot: RoutingSnapshot, update: SnapshotUpdate) -> PublishResult:
    """What becomes of update on top of snapshot; `apply` may follow an Applied that is not repeated."""
    here, there = (snapshot.epoch, snapshot.version), (update.epoch, update.version)
    if there == here:
        return Applied(epoch=update.epoch, version=update.version, repeated=True)
    if there < here:
        return Superseded(epoch=snapshot.epoch, version=snapshot.version)
    if not update.full and update.base != snapshot.version:
        return NeedsFull(epoch=snapshot.epoch, version=snapshot.version)
    found = [problem for route in update.upsert for problem in problems(route)]
    if found:
        return Inconsistent(problems=tuple(found))
    return Applied(epoch=update.epoch, version=update.version)


def apply(snapshot: RoutingSnapshot, update: SnapshotUpdate) -> RoutingSnapshot:
    """snapshot with update in it. Routes that are both removed and upserted stay, as they come."""
    routes = {} if update.full else {key: route for key, route in snapshot.routes.items() if key not in update.remove}
    routes.update((route.key, route) for route in update.upsert)
    access = snapshot.access if update.access is None else update.access
    return msgspec.structs.replace(snapshot, epoch=update.epoch, version=update.version, access=access, routes=routes)


def problems(route: EndpointRoute) -> list[str]:
    """What is wrong with one route, in sentences; empty when it may be published."""
    found = []
    total = sum(track.weight for track in route.tracks)
    if route.tracks and total not in (0, 100):
        found.append(f"{route.key}: weights sum to {total}, not 100")
    if len({track.track for track in route.tracks}) != len(route.tracks):
        found.append(f"{route.key}: a track stands twice")
    seen: set[str] = set()
    for target in (t for track in route.tracks for t in track.targets):
        if target.replica_id in seen:
            found.append(f"{route.key}: replica {target.replica_id} stands twice")
        seen.add(target.replica_id)
        if isinstance(target.address, Unix) and len(target.address.path.encode()) > SOCKET_PATH_MAX:
            found.append(f"{route.key}: socket path of replica {target.replica_id} is over {SOCKET_PATH_MAX} bytes")
        if isinstance(target.address, Tls):
            found.append(f"{route.key}: replica {target.replica_id} is on another machine, which this gateway cannot reach")
    return found
