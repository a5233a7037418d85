"""All replicas of this host: taking them up again at start, commands about them, their logs."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path

import msgspec
import structlog

from fleetform.domain.protocol import EvictSleeping, ForgetReplica, HostReplica, HostReplicaState, StartReplica, StopReplica
from fleetform.host import logs, records
from fleetform.host.layout import is_replica_id
from fleetform.host.parts import Host
from fleetform.host.record import ReplicaRecord, load_all, save
from fleetform.host.replica import Replica
from fleetform.steps import Step, step

LOG_CHECK_S = 5.0
DEVICE_CHECK_S = 10.0
LOGS_KEPT = 200
LOG_KEPT_S = 7 * 86400
NEVER_KEPT = 10_000
IN_FLIGHT_POLL_S = 5.0
TAKEN_S = 1.0
"""How long the proxy is waited for that is to send nothing new to engines which are about to end."""

log = structlog.get_logger(__name__)


class Replicas:
    """Replicas by id. The board shows each as it is.

    never: ids that were stopped before their start came. It may still lie in our socket, and ends with us.
    closed: ids that were stopped all together. What is started later is another's wish, as where a `fleetform down` was interrupted.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.replicas: dict[str, Replica] = {}
        self.in_flight: dict[str, int] = {}
        self.never: dict[str, None] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.closed: frozenset[str] = frozenset()

    def adopt(self) -> None:
        """Go on with every replica that has a record here; engines that run are taken over as they are."""
        found = list(load_all(self.host.layout))
        held = {record.engine_id for record in found if record.state is not HostReplicaState.EXITED}
        self.host.pool.adopt(held)
        self.host.snapshots.adopt(held)
        for record in found:
            self._take_up(record)
        self.host.board.in_flight = self.in_flight.get
        cares = ((self._bound_logs, LOG_CHECK_S), (self._count_in_flight, IN_FLIGHT_POLL_S), (self._recover_devices, DEVICE_CHECK_S))
        for care, every_s in cares:
            self.tasks.add(asyncio.create_task(_again_and_again(care, every_s)))

    def knows(self, replica_id: str) -> bool:
        """True when it has a record here."""
        return replica_id in self.replicas

    def stops(self, replica_id: str) -> bool:
        """True when it is known and has ended, or is being stopped."""
        replica = self.replicas.get(replica_id)
        return replica is not None and replica.stopping

    async def start(self, command: StartReplica) -> str | None:
        """Make it run; the answer says what was done. A replica that is known is left as it is; None for one that was stopped before."""
        if command.replica_id in self.never:
            return None
        if command.replica_id in self.replicas:
            return "this replica is known already"
        record = ReplicaRecord(start=command)
        await asyncio.to_thread(save, self.host.layout, record)
        self._take_up(record)
        return "the start has begun"

    async def stop(self, command: StopReplica) -> str:
        """Begin to stop it; the answer says what was done."""
        replica = self.replicas.get(command.replica_id)
        if replica is None:
            self.never[command.replica_id] = None
            for oldest in list(self.never)[:-NEVER_KEPT]:
                del self.never[oldest]
            return "no such replica is known here, and none of that id will be started"
        if replica.stopping:
            return "it has ended, or is being stopped already"
        await replica.stop(command)
        return "the stop has begun"

    async def forget(self, command: ForgetReplica) -> str | None:
        """Drop the record of a replica that has exited; None when it has not. OSError: it is still known."""
        replica = self.replicas.get(command.replica_id)
        if replica is not None and not replica.exited:
            return None
        if replica is not None:
            await replica.let_go()
            step(Step.HOST_FORGET_BEFORE)
            await asyncio.to_thread(records.remove, self.host.layout.record(command.replica_id))
            step(Step.FORGOTTEN)
            del self.replicas[command.replica_id]
            self.host.board.remove_replica(command.replica_id)
        return "forgotten"

    def sleeps(self, engine_ids: Iterable[str]) -> bool:
        """True when one of these engines sleeps here."""
        return any(self.host.pool.holds(one) or self.host.snapshots.holds(one) for one in engine_ids)

    def evict(self, command: EvictSleeping) -> str:
        """Begin to end engines that sleep; the answer says what was done."""
        self.host.pool.evict(command.engine_ids)
        self.host.snapshots.evict(command.engine_ids)
        return "those that sleep here are being ended"

    async def stop_all(self) -> None:
        """Stop every replica without waiting for what it has under way, end what sleeps, and return when all have exited.

        The proxy is told first: an engine that ends answers whatever still comes with an error of its own.
        OSError when a stop cannot be written down: that replica goes on, and all others have been stopped.
        """
        self.closed = frozenset(self.replicas)
        self.keep_out()
        await self.host.proxy.taken(TAKEN_S)
        stops = await asyncio.gather(*(replica.stop_at_once() for replica in self.replicas.values()), return_exceptions=True)
        if any(stops):
            self.closed = frozenset(replica_id for replica_id in self.closed if self.stops(replica_id))
            self.keep_out()
        running = [replica.task for replica in self.replicas.values() if replica.stopping and replica.task is not None]
        if running:
            await asyncio.wait(running)
        await self.host.pool.end_all()
        await self.host.snapshots.end_all()
        for failed in filter(None, stops):
            raise failed

    async def let_go(self) -> None:
        """Stop looking after them; engines go on running."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await asyncio.gather(*(replica.let_go() for replica in self.replicas.values()))

    async def shown(self, replica_id: str) -> HostReplica | None:
        """One replica as it is now, with what the proxy has under way to it; None when it is not known here."""
        shown = self.host.board.replicas.get(replica_id)
        found = self.replicas.get(replica_id)
        if shown is None or found is None:
            return None
        in_flight: dict[str, int] = {}
        with contextlib.suppress(OSError):  # a proxy that does not answer leaves the number out
            in_flight = await self.host.proxy.in_flight(found.record.route_key, [replica_id])
        return msgspec.structs.replace(shown, in_flight=in_flight.get(replica_id))

    def serving(self) -> list[Replica]:
        """Those whose engine is up and is neither being stopped nor ended."""
        return [replica for replica in self.replicas.values() if replica.serves_now]

    async def set_out(self, replica: Replica, since: datetime | None, message: str) -> None:
        """Take a replica out of rotation at this machine's proxy since then, or put it back (None)."""
        replica.record = msgspec.structs.replace(replica.record, hung_since=since)
        self.keep_out()
        await replica.set_out(since, message)

    def eject(self, slow: Mapping[str, str]) -> None:
        """Take these replicas, and no others, out of rotation for being slow: replica → why."""
        for replica_id, replica in self.replicas.items():
            if replica.slow != (why := slow.get(replica_id, "")):
                replica.set_slow(why)
        self.keep_out()

    def is_well(self, replica_id: str) -> bool:
        """True when its engine is up, does not hang, and is not about to end."""
        replica = self.replicas.get(replica_id)
        return replica is not None and replica.serves_now and replica.record.hung_since is None

    def keep_out(self) -> None:
        """Tell the proxy once more which replicas get nothing new."""
        out = (i for i, r in self.replicas.items() if i in self.closed or r.record.hung_since is not None or r.slow)
        self.host.proxy.take_out(frozenset(out))

    def log_lines(self, replica_id: str, lines: int) -> tuple[str, ...]:
        """The end of its log, redacted; also for a while after it was forgotten. Empty when there is none."""
        if not is_replica_id(replica_id):
            return ()
        known = self.replicas.get(replica_id)
        return logs.tail(self.host.layout.log(replica_id if known is None else known.record.engine_id), lines)

    def _take_up(self, record: ReplicaRecord) -> None:
        replica = Replica(self.host, record)
        self.replicas[record.replica_id] = replica
        replica.begin()

    async def _bound_logs(self) -> None:
        frozen = set(self.host.snapshots.ids)
        kept = {replica.record.engine_id for replica in self.replicas.values()} | set(self.host.pool.ids) | frozen
        await asyncio.to_thread(_bound, self.host.layout.logs, kept, frozen)

    async def _recover_devices(self) -> None:
        if await self.host.ledger.recover():
            self.host.board.put_capacity(self.host.ledger.capacity)

    async def _count_in_flight(self) -> None:
        """Keep the numbers that reports show; a proxy that does not answer leaves none."""
        by_route: dict[str, list[str]] = {}
        for replica in self.replicas.values():
            if not replica.exited:
                by_route.setdefault(replica.record.route_key, []).append(replica.record.replica_id)
        found: dict[str, int] = {}
        for key, replica_ids in by_route.items():
            with contextlib.suppress(OSError, ValueError, KeyError):
                found |= await self.host.proxy.in_flight(key, replica_ids)
        self.in_flight.clear()
        self.in_flight.update(found)


async def _again_and_again(care: Callable[[], Awaitable[None]], every_s: float) -> None:
    """For as long as the worker runs: whatever goes wrong once may go well the next time."""
    while True:
        try:
            await care()
        except Exception as error:
            log.error("care_failed", care=getattr(care, "__name__", ""), exc_info=error)
        await asyncio.sleep(every_s)


def _bound(folder: Path, kept: Collection[str], frozen: Collection[str]) -> None:
    """Cut the logs that are too long, and remove what nobody may ask for any more. kept: engine ids whose logs stay.

    frozen: those of them that must stay as they are, since an engine that is taken from disk finds its log as long as it was.
    """
    found = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime, reverse=True)
    for number, path in enumerate(found):
        with contextlib.suppress(OSError):  # one that cannot be cut, as on a full disk, keeps no other from being removed
            if path.stem not in kept and (number >= LOGS_KEPT or path.stat().st_mtime < time.time() - LOG_KEPT_S):
                path.unlink(missing_ok=True)
                logs.rotated(path).unlink(missing_ok=True)
            elif path.stem not in frozen:
                logs.rotate(path)
