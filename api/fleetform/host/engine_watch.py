"""Asks every serving engine of this host how it does: its own metrics, its streams, its memory.

An engine that does not answer in time keeps what it said last, with its time; one that has no such metrics is asked less often.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import httpx2
import msgspec
import structlog

from fleetform.domain.base import Record
from fleetform.domain.load import EngineLoad
from fleetform.gateway.outliers import Outliers
from fleetform.gateway.windows import WindowStore
from fleetform.host import engine_metrics, probe, processes
from fleetform.host.engine_metrics import Metrics
from fleetform.host.memory import memory_mib
from fleetform.host.replica import Replica
from fleetform.host.replicas import Replicas
from fleetform.host.statistics import PATH

EVERY_S = 2.0
ANSWER_S = 1.5
MEMORY_EVERY_S = 15.0
SILENT_EVERY_S = 30.0
"""How often an engine is asked that has answered otherwise than with metrics."""
BODY_MAX_BYTES = 4 << 20

log = structlog.get_logger(__name__)


class Told(Record, frozen=True, kw_only=True):
    """What the middleware tells, as far as it is used here. gaps: cell → how many."""

    process: int
    streams_failed: int = 0
    gaps: dict[int, int] = {}


class EngineWatch:
    """start, then `loads`. What streams say goes into store and to outliers."""

    def __init__(self, replicas: Replicas, store: WindowStore, outliers: Outliers) -> None:
        self._replicas = replicas
        self._store = store
        self._outliers = outliers
        self._engines: dict[str, _Engine] = {}
        self._taken_over: frozenset[str] = frozenset()
        self._rounds: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, once the replicas of an earlier worker have been taken over."""
        self._taken_over = frozenset(replica.record.replica_id for replica in self._replicas.serving())
        self._rounds = asyncio.create_task(self._make_rounds(), name="engine watch")

    async def stop(self) -> None:
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.gather(self._rounds, return_exceptions=True)
        for engine in self._engines.values():
            await engine.close()

    def loads(self) -> tuple[EngineLoad, ...]:
        """What each serving engine has said last."""
        found = (engine.load for _, engine in sorted(self._engines.items()))
        return tuple(load for load in found if load is not None)

    async def _make_rounds(self) -> None:
        while True:
            try:
                await self._round()
            except Exception:
                log.exception("engine_round_failed")
            await asyncio.sleep(EVERY_S)

    async def _round(self) -> None:
        serving = {replica.record.replica_id: replica for replica in self._replicas.serving()}
        for replica_id in self._engines.keys() - serving.keys():
            await self._engines.pop(replica_id).close()
        for replica_id, replica in serving.items():
            if replica_id not in self._engines:
                self._engines[replica_id] = _Engine(replica, self._store, self._outliers, is_new=self._is_new(replica))
            self._engines[replica_id].look()

    def _is_new(self, replica: Replica) -> bool:
        """True when every request that its engine has had is this replica's, and nobody has counted any yet."""
        return replica.record.replica_id not in self._taken_over and not replica.record.woken_id


class _Engine:
    """One engine, with the look at it that is under way, if any. is_new: what it says first counts as well."""

    def __init__(self, replica: Replica, store: WindowStore, outliers: Outliers, *, is_new: bool) -> None:
        self.load: EngineLoad | None = None
        self._replica = replica
        self._store = store
        self._outliers = outliers
        self._is_new = is_new
        self._open = AsyncExitStack()
        self._http: httpx2.AsyncClient | None = None
        self._looking: asyncio.Task[None] | None = None
        self._told: Told | None = None
        self._told_at = time.monotonic()
        self._asked_again_at = {"/metrics": 0.0, PATH: 0.0}
        self._weighed_at = float("-inf")

    def look(self) -> None:
        """Begin to ask, unless the last answers are still awaited."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._open.aclose()

    async def _look(self) -> None:
        try:
            text, told = await asyncio.gather(self._get("/metrics"), self._get(PATH))
            if text is not None:
                self._measured(engine_metrics.parse(text.decode(errors="replace")))
            if told is not None:
                self._streamed(told)
            if time.monotonic() - self._weighed_at >= MEMORY_EVERY_S:
                self._weighed_at = time.monotonic()
                self._weighed(await asyncio.to_thread(self._weigh))
        except Exception:
            log.exception("engine_not_read", replica=self._replica.record.replica_id)

    async def _get(self, path: str) -> bytes | None:
        """The answer; None when there is none in time, or nothing at that path."""
        now = time.monotonic()
        if now < self._asked_again_at[path]:
            return None
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await (await self._client()).get(path)
        except (httpx2.HTTPError, OSError):
            return None
        if answer.status_code != 200 or len(answer.content) > BODY_MAX_BYTES:
            self._asked_again_at[path] = now + SILENT_EVERY_S
            return None
        return answer.content

    async def _client(self) -> httpx2.AsyncClient:
        if self._http is None:
            assert self._replica.record.address is not None
            self._http = await self._open.enter_async_context(probe.client(self._replica.record.address))
        return self._http

    def _measured(self, metrics: Metrics) -> None:
        now = datetime.now(UTC)
        self.load = msgspec.structs.replace(self._last(now), at=now, **metrics._asdict())

    def _weighed(self, mib: int | None) -> None:
        """The time stays that of the metrics, where there are any."""
        now = datetime.now(UTC)
        last = self._last(now)
        self.load = msgspec.structs.replace(last, at=now if last.running is None else last.at, memory_mib=mib)

    def _last(self, now: datetime) -> EngineLoad:
        return self.load or EngineLoad(replica_id=self._replica.record.replica_id, at=now)

    def _weigh(self) -> int | None:
        identity = self._replica.record.identity
        if identity is None:
            return None
        group = processes.group(identity, self._replica.host.layout.work(self._replica.record.engine_id))
        return memory_mib(member.pid for member in group.ours)

    def _streamed(self, answer: bytes) -> None:
        """Into the windows goes what has come since the last answer: all of the first if the engine is new, else that only begins."""
        try:
            told = msgspec.json.decode(answer, type=Told)
        except msgspec.DecodeError:
            return
        now = time.monotonic()
        over_s, self._told_at = now - self._told_at, now
        before, self._told = self._told, told
        if before is None and self._is_new:
            before = Told(process=told.process)
        if before is None or before.process != told.process:
            return
        record = self._replica.record
        gaps = {cell: count - before.gaps.get(cell, 0) for cell, count in told.gaps.items() if count > before.gaps.get(cell, 0)}
        failed = max(0, told.streams_failed - before.streams_failed)
        self._store.streamed(record.route_key, record.start.track.track_id, time.time(), gaps=gaps, failed=failed)
        if gaps:
            self._outliers.streamed(record.replica_id, gaps, over_s, now)
