"""Verifying artifacts: read once, shown on the board, tried again while their source is away.

A server asks once, and does not say that a version has been deleted. So one whose source has been away for a long time is dropped: a server
that still wants it finds nothing of it in the next report, and asks again.
"""

import asyncio
import time

import msgspec
import structlog

from fleetform.domain.conditions import Reason
from fleetform.domain.protocol import ArtifactReport, ArtifactState, VerifyArtifact
from fleetform.errors import ArtifactRefused, TemporaryError
from fleetform.host import fit
from fleetform.host.board import Board
from fleetform.host.parts import Artifacts

RETRY_FIRST_S = 2.0
RETRY_MAX_S = 60.0
WANTED_S = 3600.0
"""For how long it is tried again after a server has asked for it."""
_now = time.monotonic

log = structlog.get_logger(__name__)


class Verifications:
    """One task per model version that is being verified."""

    def __init__(self, board: Board, artifacts: Artifacts) -> None:
        self.board = board
        self.artifacts = artifacts
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._asked_at: dict[str, float] = {}

    def knows(self, version_uid: str) -> bool:
        """True when its verification runs, or its outcome is still shown."""
        return version_uid in self.board.artifacts

    def start(self, command: VerifyArtifact) -> str:
        """Begin, unless it runs already; the answer says which. A finished verification is made anew."""
        self._asked_at[command.version_uid] = _now()
        if command.version_uid in self.tasks:
            return "the verification runs already"
        self._show(command, ArtifactState.VERIFYING)
        task = asyncio.create_task(self._verify(command), name=f"verify {command.version_uid}")
        self.tasks[command.version_uid] = task
        task.add_done_callback(lambda _: self._ended(command.version_uid))
        return "the verification has begun"

    async def stop(self) -> None:
        """End all of them; what was read so far is kept by the cache."""
        running = list(self.tasks.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _verify(self, command: VerifyArtifact) -> None:
        wait_s = RETRY_FIRST_S
        while True:
            try:
                fit.check_fit(command, fit.installed())
                manifest = await self.artifacts.verify(command, lambda phase, done, total: self._progress(command, done, total))
            except ArtifactRefused as error:
                reason = str(error.details.get("condition_reason", Reason.ARTIFACT_MISSING))
                self._show(command, ArtifactState.REFUSED, reason=reason, message=error.message)
                log.info("artifact_refused", version=command.version_uid, reason=reason)
                return
            except TemporaryError as error:
                self._show(command, ArtifactState.VERIFYING, message=f"{error.message}; tried again in {wait_s:g} s")
            except Exception:
                log.exception("verification_failed", version=command.version_uid)
                self._show(command, ArtifactState.VERIFYING, message=f"the host could not read it; tried again in {wait_s:g} s")
            else:
                report = ArtifactReport(version_uid=command.version_uid, state=ArtifactState.VERIFIED, seq=0, manifest=manifest)
                self.board.put_artifact(report)
                log.info("artifact_verified", version=command.version_uid, digest=manifest.digest)
                return
            if _now() - self._asked_at[command.version_uid] >= WANTED_S:
                self.board.drop_artifact(command.version_uid)
                log.info("verification_dropped", version=command.version_uid)
                return
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_MAX_S)

    def _ended(self, version_uid: str) -> None:
        self.tasks.pop(version_uid, None)
        self._asked_at.pop(version_uid, None)

    def _progress(self, command: VerifyArtifact, done: int, total: int) -> None:
        shown = self.board.artifacts[command.version_uid]
        self.board.put_artifact(msgspec.structs.replace(shown, done=done, total=total, message=""))

    def _show(self, command: VerifyArtifact, state: ArtifactState, reason: str = "", message: str = "") -> None:
        self.board.put_artifact(ArtifactReport(version_uid=command.version_uid, state=state, seq=0, reason=reason, message=message))
