"""What all replicas of a host share, as far as they need to know it."""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from fleetform.domain.model import Manifest
from fleetform.domain.protocol import VerifyArtifact
from fleetform.domain.rollout import Track
from fleetform.host.board import Board
from fleetform.host.layout import Layout
from fleetform.host.ledger import Ledger
from fleetform.host.pool.sleeper import Sleeper
from fleetform.host.record import ReplicaRecord
from fleetform.host.snapshots.criu import Criu
from fleetform.host.snapshots.image import Frozen
from fleetform.host.zygote.trust import Trust

Progress = Callable[[str, int, int], None]


class Artifacts(Protocol):
    """The artifact cache; `host.artifacts` says what each does and raises."""

    async def verify(self, command: VerifyArtifact, on_progress: Progress) -> Manifest: ...

    async def ensure(
        self, manifest: Manifest, artifact: str, prefixes: tuple[str, ...], on_progress: Progress, *, convert: bool = True
    ) -> Path: ...

    def holds(self, manifest: Manifest) -> bool: ...

    def pin(self, digest: str, holder: str) -> None: ...

    def unpin(self, digest: str, holder: str) -> None: ...


class Proxy(Protocol):
    """The proxy of this host. in_flight: replica → requests under way, for those that the route `key` names; OSError: it does not say.

    take_out: these replicas, and no others, get nothing new, whatever the server has said of them. taken: returns once the proxy has taken
    what it was told, or after limit_s.
    """

    async def in_flight(self, key: str, replica_ids: Iterable[str]) -> dict[str, int]: ...

    def alive(self) -> bool: ...

    def take_out(self, replica_ids: frozenset[str]) -> None: ...

    async def taken(self, limit_s: float) -> None: ...


class Pool(Protocol):
    """The engines of this host that sleep; `host.pool.pool` says what each does and raises."""

    @property
    def is_on(self) -> bool: ...

    @property
    def ids(self) -> Collection[str]: ...

    def adopt(self, held: Collection[str]) -> None: ...

    def holds(self, engine_id: str) -> bool: ...

    async def put_to_sleep(self, record: ReplicaRecord) -> None: ...

    def leave(self, engine_id: str) -> None: ...

    def claim(self, fingerprint: str) -> Sleeper | None: ...

    async def hand_over(self, engine_id: str) -> None: ...

    async def make_room(self, track: Track, devices: tuple[str, ...]) -> None: ...

    def evict(self, engine_ids: Iterable[str]) -> None: ...

    async def end_all(self) -> None: ...


class Snapshots(Protocol):
    """The engines of this host that lie on disk; `host.snapshots.snapshots` says what each does and raises."""

    @property
    def is_on(self) -> bool: ...

    @property
    def ids(self) -> Collection[str]: ...

    def adopt(self, held: Collection[str]) -> None: ...

    def told(self) -> str: ...

    def holds(self, engine_id: str) -> bool: ...

    async def put(self, record: ReplicaRecord) -> None: ...

    def leave(self, engine_id: str) -> None: ...

    async def claim(self, fingerprint: str) -> Frozen | None: ...

    async def take(self, engine_id: str) -> tuple[Criu, Frozen]: ...

    async def remove(self, engine_id: str, *, put_back: bool = False) -> None: ...

    def evict(self, engine_ids: Iterable[str]) -> None: ...

    async def end_all(self) -> None: ...


class Host(NamedTuple):
    layout: Layout
    board: Board
    ledger: Ledger
    artifacts: Artifacts
    proxy: Proxy
    pool: Pool
    snapshots: Snapshots
    trust: Trust
