"""The loop: claim the shard, and look after everything in it as long as the claim holds.

Woken by the database's notifications, by what hosts report, by times that plans name, and by a slow pass over everything.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime, timedelta
from typing import Any

import structlog

from fleetform.credentials import SigningKey
from fleetform.drivers.base import Driver
from fleetform.errors import AppError, DatabaseAway, NotLeader, TemporaryError
from fleetform.host import postgres
from fleetform.reconciler import access
from fleetform.reconciler.deps import ENDPOINT, SHARD, VERSION, Deps
from fleetform.reconciler.endpoints import EndpointLoop
from fleetform.reconciler.passes import Passes
from fleetform.reconciler.publisher import Publisher
from fleetform.reconciler.queue import WorkQueue
from fleetform.reconciler.scaling import Scaler
from fleetform.reconciler.sight import Sight
from fleetform.reconciler.versions import VersionLoop
from fleetform.reconciler.watch import Watch
from fleetform.reconciler.wearing import Wearing
from fleetform.settings import Settings
from fleetform.store import database, fleet, pruning
from fleetform.store.lease import RENEW_S, TTL_S, Claim

log = structlog.get_logger(__name__)
WORKERS = 8
SLOW_PASS_S = 300
CLAIM_EVERY_S = 1.0
PRUNE_S = 60
HOST_GRACE_S = 10.0


class Reconciler:
    """Makes true what the rows say, while it leads. `run` until cancelled or stopped."""

    def __init__(
        self,
        settings: Settings,
        driver: Driver,
        key: SigningKey,
        now: Callable[[], datetime],
        new_id: Callable[[], str] = secrets.token_hex,
        host_grace_s: float = HOST_GRACE_S,
    ) -> None:
        """now: the clock. new_id: randomness, at least 16 hexadecimal digits a call.

        host_grace_s: how long a host may be silent before it counts as unreachable.
        """
        self._deps = Deps(settings, driver, key, postgres.url(settings), now, new_id, host_grace_s)
        self._stopped = asyncio.Event()
        self.term: Term | None = None

    async def run(self) -> None:
        """Wait for the shard, lead it, and wait again when it is lost, until `stop`."""
        claim = Claim(self._deps.url, SHARD, self._deps.new_id())
        try:
            while not self._stopped.is_set():
                if await _taken(claim):
                    log.info("leading", shard=SHARD, epoch=claim.epoch)
                    self.term = Term(self._deps, claim)
                    await self._unless_stopped(self.term.run())
                    self.term = None
                else:
                    await self._unless_stopped(asyncio.sleep(CLAIM_EVERY_S))
        finally:
            with contextlib.suppress(DatabaseAway):
                await claim.give_up()

    def stop(self) -> None:
        """End `run` soon, and let a successor take over at once."""
        self._stopped.set()

    async def _unless_stopped(self, part: Coroutine[Any, Any, None]) -> None:
        work, stopped = asyncio.create_task(part), asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work


async def _taken(claim: Claim) -> bool:
    try:
        return await claim.take()
    except DatabaseAway as error:
        log.warning("claim_failed", error=error.message)
        return False


class Term:
    """The time that one server leads with one epoch. Everything in memory here is lost with it, and found again by the next."""

    def __init__(self, deps: Deps, claim: Claim) -> None:
        self._deps = deps
        self._claim = claim
        self.queue = WorkQueue(deps.now)
        self.sight = Sight(self._replica_changed, self._version_changed, self._look_again)
        self.publisher = Publisher(deps.driver, claim.epoch, self._routes_changed)
        self.scaler = Scaler(deps, self.sight, self._look_again, self._measured)
        self.wearing = Wearing(self.scaler.loads, deps.now, self._look_again)
        self.endpoints = EndpointLoop(deps, claim.epoch, self.sight, self.publisher, self.scaler, self.wearing, self._room_again)
        self.passes = Passes(self.queue, self.endpoints, VersionLoop(deps, claim.epoch, self.sight), deps.now)
        self._watch = Watch(deps, self.sight, self.publisher, self._routes_changed, self._hosts_changed, self.scaler.waiting)
        self._sweep_now = asyncio.Event()
        self._access_now = asyncio.Event()

    async def run(self) -> None:
        """Lead until the claim is lost. What goes wrong beyond one key ends the term, never the program."""
        parts = [self._renew(), self._listen(), self._sweep(), self._allow(), self._prune(), self._watch.run(), self.scaler.run()]
        try:
            async with asyncio.TaskGroup() as group:
                for part in (*parts, *(self._work() for _ in range(WORKERS))):
                    group.create_task(part)
        except* AppError as lost:
            log.warning("not_leading", epoch=self._claim.epoch, reasons=[str(error) for error in lost.exceptions])
        except* Exception:
            log.exception("term_failed", epoch=self._claim.epoch)
            await asyncio.sleep(CLAIM_EVERY_S)

    async def _renew(self) -> None:
        """Keep the claim. NotLeader when it is lost, or could not be kept for as long as it lasts."""
        clock = asyncio.get_running_loop().time
        kept_at = clock()
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                if not await self._claim.renew():
                    raise NotLeader(f"another server leads shard {SHARD}", epoch=self._claim.epoch)
                kept_at = clock()
            except DatabaseAway as error:
                if clock() - kept_at > TTL_S:
                    raise NotLeader(f"the claim on shard {SHARD} ran out: {error.message}", epoch=self._claim.epoch) from error

    async def _listen(self) -> None:
        await database.listen(self._deps.url, self._told)

    def _told(self, payload: str) -> None:
        """One notification of store/changes.py; "" when some may have been missed."""
        kind, _, _uid = payload.partition(" ")
        if kind in (ENDPOINT, VERSION):
            self.queue.hint(payload)
        elif kind in ("access", ""):
            self._access_now.set()
        if not kind:
            self._sweep_now.set()

    async def _sweep(self) -> None:
        """Look at everything, now and then: what was missed costs one interval."""
        await self._asked()
        while True:
            self._sweep_now.clear()
            try:
                for uid in await fleet.unverified_versions():
                    self.queue.sweep(f"{VERSION} {uid}")
                for uid in await fleet.living_endpoints():
                    self.queue.sweep(f"{ENDPOINT} {uid}")
                await self.endpoints.tidy()
            except TemporaryError as error:
                log.warning("sweep_failed", error=error.message)
                self._sweep_now.set()
                await asyncio.sleep(CLAIM_EVERY_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SLOW_PASS_S):
                    await self._sweep_now.wait()

    async def _allow(self) -> None:
        """Keep the gateways' access rules as the rows say, and free of what has expired."""
        while True:
            self._access_now.clear()
            try:
                self.publisher.allow(await access.current(self._deps.settings, self._deps.key, self._deps.now()))
            except DatabaseAway as error:
                log.warning("access_unknown", error=error.message)
                self._access_now.set()
                await asyncio.sleep(CLAIM_EVERY_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PRUNE_S):
                    await self._access_now.wait()

    async def _prune(self) -> None:
        """Remove what is told of the past and has been kept for long enough, little by little."""
        while True:
            try:
                gone = await pruning.prune(self._deps.now() - timedelta(days=self._deps.settings.events_days), SHARD, self._claim.epoch)
            except DatabaseAway as error:
                log.warning("prune_failed", error=error.message)
            else:
                if gone:
                    log.info("pruned", rows=gone)
            await asyncio.sleep(SLOW_PASS_S)

    async def _asked(self) -> None:
        """Return once the hosts have been heard: a plan made before would take every replica for lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._deps.host_grace_s + 1):
                await self.sight.asked()

    async def _work(self) -> None:
        await self._asked()
        while True:
            await self.passes.make(await self.queue.take())

    def _replica_changed(self, replica_id: str) -> None:
        uid = self.endpoints.owners.get(replica_id)
        if uid is not None:
            self.queue.hint(f"{ENDPOINT} {uid}")

    def _look_again(self, uid: str) -> None:
        """The load says that an endpoint's count should change, a replica of it is worn, or other engines of it sleep."""
        self.queue.hint(f"{ENDPOINT} {uid}")

    def _measured(self) -> None:
        self._routes_changed(self.publisher.leave_out(self.scaler.lost))
        self.wearing.look()

    def _version_changed(self, version_uid: str) -> None:
        self.queue.hint(f"{VERSION} {version_uid}")

    def _routes_changed(self, keys: Iterable[str]) -> None:
        for key in keys:
            uid = self.endpoints.keys.get(key)
            if uid is not None:
                self.queue.hint(f"{ENDPOINT} {uid}")

    def _room_again(self) -> None:
        """Something was released, or a host offers more: whoever waits for room looks again."""
        for uid in tuple(self.endpoints.hungry):
            self.queue.sweep(f"{ENDPOINT} {uid}")

    def _hosts_changed(self) -> None:
        """A host is back or offers something else: that may concern any endpoint, and versions that no host could read."""
        self._sweep_now.set()
