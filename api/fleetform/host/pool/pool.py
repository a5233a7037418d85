"""Which engines sleep, which are woken, which are ended.

It is a cache: whatever is lost of it costs a start its speed. An engine belongs either to one living replica or to the pool, by the disk:
to the pool while its record lies there. Between the two it is *held*: a replica that put it there has not exited yet, or one has claimed
it and not asked it to wake.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import datetime, timedelta

import msgspec
import structlog

from fleetform.domain.rollout import Track
from fleetform.host import ending, processes, records
from fleetform.host.board import Board
from fleetform.host.layout import Layout
from fleetform.host.ledger import Ledger
from fleetform.host.memory import memory_mib
from fleetform.host.pool import asking, evicting, room, sleeper
from fleetform.host.pool.asking import Refused
from fleetform.host.pool.sleeper import Sleeper
from fleetform.host.processes import Identity
from fleetform.host.record import ReplicaRecord, utc_now
from fleetform.host.threads import to_its_end
from fleetform.steps import Step, step

LOOK_S = 1.0
RESIDUE_WAIT_S = 10.0
RESIDUE_POLL_S = 0.5
MIB = 1024 * 1024

log = structlog.get_logger(__name__)


class WarmPool:
    """Sleeping engines by id; together they have what the ledger leaves them of the host's memory. limit_s: how long one may sleep."""

    def __init__(self, layout: Layout, board: Board, ledger: Ledger, limit_s: int) -> None:
        self.budget_mib = ledger.warm_pool_mib
        self._closed = False
        self._layout = layout
        self._board = board
        self._ledger = ledger
        self._limit = timedelta(seconds=limit_s)
        self._sleepers: dict[str, Sleeper] = {}
        self._held: set[str] = set()
        self._unwanted: set[str] = set()
        self._falling_mib: dict[str, int] = {}
        self._lock = asyncio.Lock()
        self._look_now = asyncio.Event()
        self._care: asyncio.Task[None] | None = None

    def adopt(self, held: Collection[str]) -> None:
        """Take up what slept when the worker ended, and look after it. held: engine ids of replicas that have not exited."""
        self._sleepers = {found.engine_id: found for found in sleeper.load_all(self._layout)}
        self._held = set(held) & self._sleepers.keys()
        self._show()
        self._care = asyncio.create_task(self._look_after(), name="warm pool")

    async def let_go(self) -> None:
        """Stop looking after them; they sleep on."""
        if self._care is not None:
            self._care.cancel()
            await asyncio.wait({self._care})

    @property
    def is_on(self) -> bool:
        """True while engines may be kept here."""
        return self.budget_mib > 0 and not self._closed

    @property
    def ids(self) -> Collection[str]:
        """The engines that sleep here."""
        return self._sleepers.keys()

    def holds(self, engine_id: str) -> bool:
        """True while that engine sleeps: then it is not its replica's to end."""
        return engine_id in self._sleepers

    # from a replica into the pool

    async def put_to_sleep(self, record: ReplicaRecord) -> None:
        """Return once the engine of record sleeps and is the pool's; Refused when it does not, or may not stay. Done twice it is done once.

        The caller goes on to `leave`, or ends the engine.
        """
        if self.holds(record.engine_id):
            return
        identity, address = record.identity, record.address
        if not (self.is_on and record.fingerprint and record.devices and identity and address and record.process):
            raise Refused("such an engine is not kept here")
        need_mib = await self._weight(record, identity)
        await self._make_memory(record.engine_id, need_mib)
        try:
            step(Step.SLEEP_BEFORE)
            await asking.fall_asleep(address)
            step(Step.SLEPT)
            async with self._lock:
                made = Sleeper(
                    engine_id=record.engine_id,
                    fingerprint=record.fingerprint,
                    start=record.start,
                    nonce=record.woken_nonce or record.start.nonce,
                    address=address,
                    process=record.process,
                    since=utc_now(),
                    memory_mib=max(need_mib, await self._memory(record.engine_id, identity)),
                    residue_mib=await self._residue(record.devices),
                    freezes=record.freezes,
                )
                self._held.add(made.engine_id)
                await self._save(made)
                self._sleepers[made.engine_id] = made
                step(Step.SLEEPER_RECORDED)
                self._show()
        finally:
            self._falling_mib.pop(record.engine_id, None)
        log.info("engine_sleeps", engine=made.engine_id, memory_mib=made.memory_mib, residue_mib=made.residue_mib)

    async def _save(self, made: Sleeper) -> None:
        """Write the record of an engine that is to be the pool's. Refused on a full disk: what has no record must not sleep on."""
        try:
            await to_its_end(sleeper.save, self._layout, made)
        except OSError as error:
            self._held.discard(made.engine_id)
            raise Refused(f"its record cannot be written: {error}") from error

    def leave(self, engine_id: str) -> None:
        """No replica holds that engine any more: from here on it may be woken, or ended."""
        self._held.discard(engine_id)
        self._look_now.set()

    async def _weight(self, record: ReplicaRecord, identity: Identity) -> int:
        """MiB of the host that it will take: what its processes have now, and a copy of the weights, which they may not show."""
        return await self._memory(record.engine_id, identity) + record.start.track.manifest.size_bytes // MIB

    async def _memory(self, engine_id: str, identity: Identity) -> int:
        found = await asyncio.to_thread(lambda: processes.group(identity, self._layout.work(engine_id)).ours)
        return await asyncio.to_thread(memory_mib, [member.pid for member in found]) or 0

    async def _make_memory(self, engine_id: str, need_mib: int) -> None:
        """Keep need_mib of the budget for an engine that is about to fall asleep; those that slept longest make way. Refused."""
        async with self._lock:
            fixed = sum(self._falling_mib.values()) + sum(s.memory_mib for s in self._sleepers.values() if s.engine_id in self._held)
            if fixed + need_mib > self.budget_mib:
                raise Refused(
                    f"it needs {need_mib} MiB of memory, and the pool has {self.budget_mib - fixed} MiB of {self.budget_mib} to give"
                )
            while fixed + need_mib + sum(s.memory_mib for s in self._free()) > self.budget_mib:
                if not await self._end(self._free()[0], "another engine needs its memory"):
                    raise Refused("an engine that was to make way cannot be ended")
            self._falling_mib[engine_id] = need_mib

    async def _residue(self, devices: Iterable[str]) -> dict[str, int]:
        """Device → MiB that an engine keeps which has just fallen asleep. Refused when that is too much to stay."""
        deadline = asyncio.get_running_loop().time() + RESIDUE_WAIT_S
        while True:
            found = await self._ledger.residue(tuple(devices))
            allowed = {
                d.uuid: room.by_default(d.memory_mib) - self._ledger.asleep_mib.get(d.uuid, 0) for d in self._ledger.capacity.devices
            }
            over = [uuid for uuid, mib in found.items() if mib > allowed.get(uuid, 0)]
            if not over:
                return found
            if asyncio.get_running_loop().time() >= deadline:
                raise Refused(f"device {over[0]} keeps {found[over[0]]} MiB, of which {max(0, allowed.get(over[0], 0))} MiB may stay")
            await asyncio.sleep(RESIDUE_POLL_S)

    # from the pool to a replica

    def claim(self, fingerprint: str) -> Sleeper | None:
        """The engine that was put to sleep last of those with exactly that fingerprint, held for the caller; None: there is none."""
        same = [s for s in self._free() if fingerprint and s.fingerprint == fingerprint]
        found = [s for s in same if not (s.ending or s.engine_id in self._unwanted) and processes.alive(s.identity)]
        if not found:
            return None
        self._held.add(found[-1].engine_id)
        return found[-1]

    async def hand_over(self, engine_id: str) -> None:
        """The claimed engine is its replica's from now on, which may ask it to wake. OSError: it is still the pool's, and held."""
        async with self._lock:
            found = self._sleepers.pop(engine_id, None)
            if found is None:
                return
            self._held.discard(engine_id)
            self._show()
            try:
                await to_its_end(records.remove, self._layout.sleeper(engine_id))
            except OSError:
                self._held.add(engine_id)
                self._sleepers[engine_id] = found
                self._show()
                raise

    async def make_room(self, track: Track, devices: tuple[str, ...]) -> None:
        """End those that sleep on the devices beyond what may stay beside an engine of track; their memory is back, or `busy` says so."""
        total = {device.uuid: device.memory_mib for device in self._ledger.capacity.devices}
        ended = False
        async with self._lock:
            for uuid in devices:
                while self._ledger.asleep_mib.get(uuid, 0) > room.beside(track, total.get(uuid, 0)):
                    there = [s for s in self._free() if uuid in s.residue_mib]
                    if not there or not await self._end(there[0], "another engine needs its device"):
                        break
                    ended = True
        if ended:
            await ending.memory_back(self._ledger, devices)

    # out of the pool

    def evict(self, engine_ids: Iterable[str]) -> None:
        """Begin to end these, and have nobody woken of them from now on. One that a replica has claimed is that replica's.

        Waits for nothing: another one may be ended at the moment. What a worker that dies meanwhile knew of it the server says again.
        """
        self._unwanted.update(s.engine_id for s in self._free() if s.engine_id in engine_ids)
        self._look_now.set()

    async def end_all(self) -> None:
        """End all that sleep, and keep no other from now on."""
        self._closed = True
        while self._free():
            await self._look()
            if self._free():
                await asyncio.sleep(LOOK_S)

    def _free(self) -> list[Sleeper]:
        """Those that no replica holds, the one that has slept longest first."""
        free = (s for s in self._sleepers.values() if s.engine_id not in self._held)
        return sorted(free, key=lambda s: (not s.ending, s.since, s.engine_id))

    async def _look_after(self) -> None:
        while True:
            self._look_now.clear()
            try:
                await self._look()
            except Exception:
                log.exception("warm_pool_look_failed")
            await _first_of(self._look_now.wait, LOOK_S)

    async def _look(self) -> None:
        """End those that are not to sleep any longer, and clean up after those that have ended."""
        async with self._lock:
            for found in self._free():
                why = self._why_not(found, utc_now())
                if why:
                    await self._end(found, why)
            while self._free() and sum(s.memory_mib for s in self._sleepers.values()) > self.budget_mib:
                if not await self._end(self._free()[0], "the pool has less memory now"):
                    break

    def _why_not(self, found: Sleeper, now: datetime) -> str:
        """Why it is not to sleep any longer, or nothing."""
        if found.ending or found.engine_id in self._unwanted:
            return "it is not wanted any more"
        if self._closed:
            return "this host stops"
        if not processes.alive(found.identity):
            return "its process has ended"
        if now - found.since >= self._limit:
            return f"nobody asked for it in {self._limit.total_seconds():.0f} s"
        return ""

    async def _mark_ending(self, found: Sleeper) -> Sleeper:
        """found, never to be woken again, which is on disk before it is touched; a full disk keeps nobody alive."""
        if found.ending:
            return found
        marked = msgspec.structs.replace(found, ending=True)
        self._sleepers[found.engine_id] = marked
        try:
            await to_its_end(sleeper.save, self._layout, marked)
        except OSError as error:
            log.error("record_not_written", engine=found.engine_id, error=str(error))
        return marked

    async def _end(self, found: Sleeper, why: str) -> bool:
        """End it and everything of it. False when it was claimed meanwhile, and while processes of its session may be a stranger's."""
        if found.engine_id in self._held:
            return False
        found = await self._mark_ending(found)
        doubt = await evicting.end(self._layout, found)
        if doubt is not None:
            log.error("sleeping_engine_in_doubt", engine=found.engine_id, message=doubt)
            return False
        self._sleepers.pop(found.engine_id, None)
        self._unwanted.discard(found.engine_id)
        self._show()
        log.info("sleeping_engine_ended", engine=found.engine_id, reason=why)
        return True

    def _show(self) -> None:
        """Tell the ledger what may be missing of each device, and the server what sleeps here."""
        kept: dict[str, int] = {}
        for found in self._sleepers.values():
            for uuid, mib in found.residue_mib.items():
                kept[uuid] = kept.get(uuid, 0) + mib
        self._ledger.asleep_mib = kept
        self._board.put_sleeping(tuple(found.shown() for _, found in sorted(self._sleepers.items())))


async def _first_of(wait: Callable[[], Awaitable[object]], timeout_s: float) -> None:
    """Until wait() returns, or the time is over."""
    try:
        async with asyncio.timeout(timeout_s):
            await wait()
    except TimeoutError:
        return
