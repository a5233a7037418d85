"""Artifacts fetched before anybody waits for them: one at a time, and only ever a favour. A start that needs one joins in or fetches it.

As they are at their source: a conversion takes memory, which only a replica has reserved.
"""

import asyncio
from collections import OrderedDict

import structlog

from fleetform.domain.protocol import Prefetch
from fleetform.errors import AppError
from fleetform.host.parts import Artifacts

WAITING_MAX = 100

log = structlog.get_logger(__name__)


class Prefetches:
    """What waits, by artifact, and the task that works through it. What is fetched is not pinned: it goes first when room is needed."""

    def __init__(self, artifacts: Artifacts) -> None:
        self.artifacts = artifacts
        self.waiting: OrderedDict[str, Prefetch] = OrderedDict()
        self.task: asyncio.Task[None] | None = None

    def start(self, command: Prefetch) -> str:
        """Put it at the end, unless it is there; the answer says what was done."""
        if self.artifacts.holds(command.manifest):
            return "the artifact is here already"
        if command.manifest.digest not in self.waiting and len(self.waiting) >= WAITING_MAX:
            return "too many artifacts wait to be fetched; a start will fetch it"
        self.waiting.setdefault(command.manifest.digest, command)
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._work(), name="prefetch")
        return "the artifact will be fetched"

    async def stop(self) -> None:
        """End it; what was read so far is kept by the cache."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})

    async def _work(self) -> None:
        while self.waiting:
            digest, command = next(iter(self.waiting.items()))
            try:
                await self.artifacts.ensure(command.manifest, command.artifact, command.prefixes, _unheard, convert=False)
                log.info("artifact_prefetched", version=command.version_uid, digest=digest)
            except AppError as error:
                log.warning("artifact_not_prefetched", version=command.version_uid, digest=digest, reason=error.reason)
            except Exception:
                log.exception("prefetch_failed", version=command.version_uid, digest=digest)
            self.waiting.pop(digest, None)


def _unheard(phase: str, done: int, total: int) -> None:
    """Nobody follows a prefetch."""
