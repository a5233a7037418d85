"""What the host knows, numbered so that a reader is told only what is newer than what it has."""

import asyncio
import time
import uuid
from collections.abc import Callable

import msgspec

from fleetform.domain.machine import HostCapacity
from fleetform.domain.protocol import (
    PROTOCOL_VERSION,
    ArtifactReport,
    ArtifactState,
    GatewayReport,
    HostReplica,
    HostReport,
    SleepingEngine,
)
from fleetform.host.processes import boot_id

ARTIFACTS_KEPT = 500
REMOVED_KEPT = 1000


class Board:
    """Replicas, artifacts, capacity and the proxy's state, each change with a number of its own.

    Numbers begin at the clock's milliseconds, so that those of a restarted worker are above all that its predecessor gave out and a
    reader that was connected to it is told everything.
    """

    def __init__(self, capacity: HostCapacity, now: float | None = None) -> None:
        self.capacity = capacity
        self.epoch = 0
        self.gateway: Callable[[], GatewayReport | None] = lambda: None
        self.in_flight: Callable[[str], int | None] = lambda replica_id: None
        self.first = self.seq = int((time.time() if now is None else now) * 1000)
        self.replicas: dict[str, HostReplica] = {}
        self.artifacts: dict[str, ArtifactReport] = {}
        self.removed: dict[str, int] = {}
        self._sleeping: dict[str, tuple[SleepingEngine, ...]] = {}
        self.host_seq = self.first
        self.instance = uuid.uuid4().hex
        self._boot_id = boot_id()
        self._changed = asyncio.Event()

    def put_replica(self, replica: HostReplica) -> None:
        """Show replica as it is now; its seq is given here."""
        self.replicas[replica.replica_id] = msgspec.structs.replace(replica, seq=self._next())
        self.removed.pop(replica.replica_id, None)

    def remove_replica(self, replica_id: str) -> None:
        """Show it no longer, and say so. Beyond REMOVED_KEPT, a reader that has not heard of the oldest removal is told everything."""
        if self.replicas.pop(replica_id, None) is not None:
            self.removed[replica_id] = self._next()
            if len(self.removed) > REMOVED_KEPT:
                self.first = self.removed.pop(next(iter(self.removed)))

    def put_artifact(self, report: ArtifactReport) -> None:
        """Show a verification as it is now; its seq is given here. The oldest finished ones are dropped beyond ARTIFACTS_KEPT."""
        self.artifacts.pop(report.version_uid, None)
        self.artifacts[report.version_uid] = msgspec.structs.replace(report, seq=self._next())
        done = [uid for uid, kept in self.artifacts.items() if kept.state is not ArtifactState.VERIFYING]
        for uid in done[: max(0, len(self.artifacts) - ARTIFACTS_KEPT)]:
            del self.artifacts[uid]

    def drop_artifact(self, version_uid: str) -> None:
        """Show a verification no longer. Reports name no artifact that is gone: every reader is told everything anew."""
        if self.artifacts.pop(version_uid, None) is not None:
            self.first = self._next()

    def put_capacity(self, capacity: HostCapacity) -> None:
        """Show another capacity: a device fell ill, or came back."""
        self.capacity = capacity
        self.touch()

    @property
    def sleeping(self) -> tuple[SleepingEngine, ...]:
        """Which engines sleep here now, wherever they lie."""
        return tuple(engine for where in sorted(self._sleeping) for engine in self._sleeping[where])

    def put_sleeping(self, sleeping: tuple[SleepingEngine, ...], where: str = "memory") -> None:
        """Show which engines sleep there now."""
        if sleeping != self._sleeping.get(where, ()):
            self._sleeping[where] = sleeping
            self.touch()

    def put_epoch(self, epoch: int) -> None:
        """Show the highest epoch that has been seen."""
        self.epoch = epoch
        self.touch()

    def touch(self) -> None:
        """Something that is in every report has changed: capacity, epoch, what sleeps, or what the proxy acknowledged."""
        self.host_seq = self._next()

    async def observe(self, since: int, wait_s: float) -> HostReport:
        """All that is newer than since, as soon as there is something; after wait_s seconds what there is, even if that is nothing."""
        deadline = asyncio.get_running_loop().time() + wait_s
        while self.first <= since == self.seq:
            remaining = deadline - asyncio.get_running_loop().time()
            if remaining <= 0:
                break
            changed = self._changed
            try:
                async with asyncio.timeout(remaining):
                    await changed.wait()
            except TimeoutError:
                break
        return self.report(since)

    def report(self, since: int) -> HostReport:
        """All that is newer than since; everything when since is not a number of ours."""
        full = not self.first <= since <= self.seq
        return HostReport(
            protocol_version=PROTOCOL_VERSION,
            host=self.capacity.host,
            boot_id=self._boot_id,
            instance=self.instance,
            seq=self.seq,
            full=full,
            epoch=self.epoch,
            capacity=self.capacity,
            replicas=tuple(self._with_in_flight(r) for r in self.replicas.values() if full or r.seq > since),
            removed=() if full else tuple(replica_id for replica_id, seq in self.removed.items() if seq > since),
            artifacts=tuple(a for a in self.artifacts.values() if full or a.seq > since),
            gateway=self.gateway(),
            sleeping=self.sleeping,
        )

    def _with_in_flight(self, replica: HostReplica) -> HostReplica:
        return msgspec.structs.replace(replica, in_flight=self.in_flight(replica.replica_id))

    def _next(self) -> int:
        self.seq += 1
        self._changed.set()
        self._changed = asyncio.Event()
        return self.seq
