"""Verifying artifacts: read once, shown on the board, tried again while their source is away."""

import asyncio

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

log = structlog.get_logger(__name__)


class Verifications:
    """One task per model version that is being verified."""

    def __init__(self, board: Board, artifacts: Artifacts) -> None:
        self.board = board
        self.artifacts = artifacts
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def knows(self, version_uid: str) -> bool:
        """True when its verification runs, or its outcome is still shown."""
        return version_uid in self.board.artifacts

    def start(self, command: VerifyArtifact) -> str:
        """Begin, unless it runs already; the answer says which. A finished verification is made anew."""
        if command.version_uid in self.tasks:
            return "the verification runs already"
        self._show(command, ArtifactState.VERIFYING)
        task = asyncio.create_task(self._verify(command), name=f"verify {command.version_uid}")
        self.tasks[command.version_uid] = task
        task.add_done_callback(lambda _: self.tasks.pop(command.version_uid, None))
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
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_MAX_S)

    def _progress(self, command: VerifyArtifact, done: int, total: int) -> None:
        shown = self.board.artifacts[command.version_uid]
        self.board.put_artifact(msgspec.structs.replace(shown, done=done, total=total, message=""))

    def _show(self, command: VerifyArtifact, state: ArtifactState, reason: str = "", message: str = "") -> None:
        self.board.put_artifact(ArtifactReport(version_uid=command.version_uid, state=state, seq=0, reason=reason, message=message))
