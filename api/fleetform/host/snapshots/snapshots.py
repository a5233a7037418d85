"""Which engines lie on disk, which are taken from there, which are thrown away.

Like the pool, a cache: whatever is lost of it costs a start its speed. By the disk an engine is here while its record lies in its folder.
Between here and a replica it is *held*: a replica that put it here has not exited yet, or one has claimed it and not taken it.
"""

import asyncio
import contextlib
import hashlib
import shutil
from collections.abc import Collection, Iterable
from datetime import timedelta

import msgspec
import structlog

from fleetform.host import ending
from fleetform.host.board import Board
from fleetform.host.layout import Layout
from fleetform.host.pool.asking import Refused
from fleetform.host.record import ReplicaRecord, utc_now
from fleetform.host.snapshots import criu as program
from fleetform.host.snapshots import freezing, image, thawing
from fleetform.host.snapshots.criu import Criu
from fleetform.host.snapshots.image import Frozen
from fleetform.host.threads import to_its_end
from fleetform.steps import Step, step

LOOK_S = 2.0
DISK_KEPT_MIB = 1024
"""Left free on the disk, whatever the budget says."""
WHERE = "disk"

log = structlog.get_logger(__name__)


class Snapshots:
    """Engines on disk by id. criu: the program, or why there is none here. limit_s: how long one may lie there."""

    def __init__(self, layout: Layout, board: Board, criu: Criu | str, budget_mib: int, limit_s: int) -> None:
        self.budget_mib = budget_mib
        self._criu = criu
        self._closed = False
        self._layout = layout
        self._board = board
        self._limit = timedelta(seconds=limit_s)
        self._frozen: dict[str, Frozen] = {}
        self._held: set[str] = set()
        self._unwanted: set[str] = set()
        self._cut: set[str] = set()
        self._making: set[str] = set()
        self._lock = asyncio.Lock()
        self._one_at_a_time = asyncio.Lock()
        self._look_now = asyncio.Event()
        self._care: asyncio.Task[None] | None = None

    def adopt(self, held: Collection[str]) -> None:
        """Take up what lay here when the worker ended, and look after it; what is not whole is removed.

        held: engine ids of replicas that have not exited. What was begun for one of them is not begun again: a program that was killed at
        it may have left the engine as it must not be put on disk. The folder of an engine that was taken is its replica's to remove.
        """
        self._frozen = {found.engine_id: found for found in image.load_all(self._layout.snapshots)}
        self._held = set(held) & self._frozen.keys()
        for folder in sorted(self._layout.snapshots.iterdir()):
            if folder.name in self._frozen:
                continue
            if folder.name in held:
                self._cut.add(folder.name)
                if image.taken(folder) is not None:
                    continue
            image.abandon(folder)
        self._show()
        self._care = asyncio.create_task(self._look_after(), name="snapshots")

    async def let_go(self) -> None:
        """Stop looking after them; they lie on."""
        if self._care is not None:
            self._care.cancel()
            await asyncio.wait({self._care})

    @property
    def is_on(self) -> bool:
        """True while engines may be put here."""
        return isinstance(self._criu, Criu) and not self._closed and self.budget_mib > 0

    @property
    def ids(self) -> Collection[str]:
        """The engines that lie here, or are being put here."""
        return self._frozen.keys() | self._making

    def told(self) -> str:
        """What lies here, or why nothing can, in words."""
        if isinstance(self._criu, str):
            return f"off, {self._criu}" if self._criu else ""
        used = sum(frozen.disk_mib for frozen in self._frozen.values())
        return f"{len(self._frozen)} on disk, {used} of {self.budget_mib} MiB"

    def holds(self, engine_id: str) -> bool:
        """True while that engine lies here: then it is not its replica's to end."""
        return engine_id in self._frozen

    # from a replica to the disk

    async def put(self, record: ReplicaRecord) -> None:
        """Return once the engine of record lies here; Refused when it does not. Done twice it is done once.

        The caller goes on to `leave`, or ends the engine.
        """
        engine_id = record.engine_id
        if self.holds(engine_id):
            return
        if not (self.is_on and isinstance(self._criu, Criu) and record.freezes and record.identity):
            raise Refused("such an engine is not put on disk here")
        if engine_id in self._cut:
            raise Refused("it was being put on disk when the worker died")
        async with self._one_at_a_time:
            async with self._lock:
                await self._make_room(await freezing.need_mib(self._layout, record))
            self._making.add(engine_id)
            try:
                frozen = await freezing.freeze(self._layout, self._criu, await self._machine(), record)
            except Refused:
                await asyncio.to_thread(image.abandon, self._layout.snapshot(engine_id))
                raise
            finally:
                self._making.discard(engine_id)
            self._held.add(engine_id)
            self._frozen[engine_id] = frozen
            step(Step.FREEZE_RECORDED)
            self._show()
        log.info("engine_on_disk", engine=engine_id, disk_mib=frozen.disk_mib)

    def leave(self, engine_id: str) -> None:
        """No replica holds that engine any more: from here on it may be taken, or thrown away."""
        self._held.discard(engine_id)

    async def _make_room(self, need_mib: int) -> None:
        """Have need_mib of the budget and of the disk; those that have lain longest make way. Refused."""
        fixed = sum(frozen.disk_mib for frozen in self._frozen.values() if frozen.engine_id in self._held)
        if fixed + need_mib > self.budget_mib:
            raise Refused(f"it needs {need_mib} MiB of the disk, and {self.budget_mib - fixed} MiB of {self.budget_mib} are to be given")
        while fixed + need_mib + sum(frozen.disk_mib for frozen in self._free()) > self.budget_mib or self._is_full(need_mib):
            if not self._free():
                raise Refused(f"the disk has no room for {need_mib} MiB")
            await self._throw_away(self._free()[0], "another engine needs its room")

    def _is_full(self, need_mib: int) -> bool:
        return shutil.disk_usage(self._layout.snapshots).free // image.MIB < need_mib + DISK_KEPT_MIB

    # from the disk to a replica

    async def claim(self, fingerprint: str) -> Frozen | None:
        """The engine that was put here last of those with exactly that fingerprint, held for the caller; None: there is none.

        One that another machine, kernel or program has put here is thrown away.
        """
        async with self._lock:
            wanted = (frozen for frozen in self._free() if frozen.engine_id not in self._unwanted)
            same = [frozen for frozen in wanted if fingerprint and frozen.fingerprint == fingerprint]
            if not same or not isinstance(self._criu, Criu):
                return None
            machine = await self._machine()
            for frozen in same:
                if frozen.machine != machine:
                    await self._throw_away(frozen, "the machine is not what it was")
            found = [frozen for frozen in same if self.holds(frozen.engine_id)]
            if not found:
                return None
            self._held.add(found[-1].engine_id)
            return found[-1]

    async def take(self, engine_id: str) -> tuple[Criu, Frozen]:
        """The claimed engine is its replica's from now on, which brings it back and then removes it.

        OSError: it still lies here, held. Refused: it cannot be brought back, and is the replica's to remove.
        """
        async with self._lock:
            frozen = self._frozen[engine_id]
            await to_its_end(image.take, self._layout.snapshot(engine_id))
            del self._frozen[engine_id]
            self._held.discard(engine_id)
            self._show()
            if not isinstance(self._criu, Criu) or frozen.machine != await self._machine():
                raise Refused("the machine is not what it was")
            return self._criu, frozen

    async def remove(self, engine_id: str, *, put_back: bool = False) -> None:
        """Remove what a replica has taken, if there is something. put_back: it has not become an engine again, and is ended."""
        folder = self._layout.snapshot(engine_id)
        if self.holds(engine_id):
            return
        if put_back and (frozen := image.taken(folder)) is not None:
            await to_its_end(thawing.end_half_back, frozen, self._layout.work(engine_id))
        await to_its_end(image.discard, folder, put_back=put_back)

    # out of here

    def evict(self, engine_ids: Iterable[str]) -> None:
        """Begin to throw these away, and have none of them taken from now on. One that a replica has claimed is that replica's.

        Waits for nothing: what is large takes its time. What a worker that dies meanwhile knew of it the server says again.
        """
        self._unwanted.update(frozen.engine_id for frozen in self._free() if frozen.engine_id in engine_ids)
        self._look_now.set()

    async def end_all(self) -> None:
        """Throw all away, and put no other here from now on."""
        self._closed = True
        async with self._lock:
            for frozen in self._free():
                await self._throw_away(frozen, "this host stops")

    def _free(self) -> list[Frozen]:
        """Those that no replica holds, the one that has lain longest first."""
        free = (frozen for frozen in self._frozen.values() if frozen.engine_id not in self._held)
        return sorted(free, key=lambda frozen: (frozen.since, frozen.engine_id))

    async def _look_after(self) -> None:
        while True:
            self._look_now.clear()
            try:
                async with self._lock:
                    machine = await self._machine()
                    for frozen in self._free():
                        why = self._why_not(frozen, machine)
                        if why:
                            await self._throw_away(frozen, why)
            except Exception:
                log.exception("snapshots_look_failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._look_now.wait()

    def _why_not(self, frozen: Frozen, machine: str) -> str:
        """Why it is not to lie here any longer, or nothing."""
        if not isinstance(self._criu, Criu):
            return self._criu or "no snapshots are wanted here"
        if frozen.engine_id in self._unwanted:
            return "it is not wanted any more"
        if utc_now() - frozen.since >= self._limit:
            return f"nobody asked for it in {self._limit.total_seconds():.0f} s"
        if sum(other.disk_mib for other in self._frozen.values()) > self.budget_mib:
            return "there is less room now"
        return "" if frozen.machine == machine else "the machine is not what it was"

    async def _machine(self) -> str:
        """The digest of what must be the same of the machine; nothing without CRIU. The kernel takes its time to tell of many cores."""
        return await asyncio.to_thread(_digest, self._criu) if isinstance(self._criu, Criu) else ""

    async def _throw_away(self, frozen: Frozen, why: str) -> None:
        step(Step.DISCARD_BEFORE)
        await to_its_end(image.discard, self._layout.snapshot(frozen.engine_id))
        await to_its_end(ending.clean, self._layout, frozen.engine_id)
        self._frozen.pop(frozen.engine_id, None)
        self._unwanted.discard(frozen.engine_id)
        step(Step.DISCARDED)
        self._show()
        log.info("snapshot_removed", engine=frozen.engine_id, reason=why)

    def _show(self) -> None:
        """Tell the server what lies here."""
        self._board.put_sleeping(tuple(frozen.shown() for _, frozen in sorted(self._frozen.items())), WHERE)


def _digest(criu: Criu) -> str:
    return hashlib.sha256(msgspec.json.encode(program.machine(criu), order="deterministic")).hexdigest()
