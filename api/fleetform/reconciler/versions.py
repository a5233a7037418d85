"""One model version: load, plan, record, apply."""

import structlog

from fleetform.domain.protocol import PROTOCOL_VERSION, CommandRequest
from fleetform.planner import plan_version
from fleetform.planner.model import VersionObserved
from fleetform.reconciler.deps import SHARD, Deps
from fleetform.reconciler.outcome import Done, Outcome, TemporaryFailure
from fleetform.reconciler.sight import Sight
from fleetform.steps import Step, step
from fleetform.store import fleet, recording

log = structlog.get_logger(__name__)


class VersionLoop:
    """Looks after model versions under one leader's epoch."""

    def __init__(self, deps: Deps, epoch: int, sight: Sight) -> None:
        self._deps = deps
        self._epoch = epoch
        self._sight = sight

    async def reconcile(self, uid: str) -> tuple[Outcome, list[str]]:
        """Bring one version a step further; uids of the endpoints that its verdict concerns. NotLeader when another server leads."""
        desired = await fleet.load_version(uid)
        if desired is None:
            return Done(), []
        made = plan_version(desired, VersionObserved(hosts=self._sight.instances(), report=self._sight.artifact(uid)))
        if made.manifest is not None:
            await recording.record_verified(uid, made.manifest, SHARD, self._epoch, self._deps.now())
        if made.refused is not None:
            await recording.record_refused(uid, made.refused, made.message, SHARD, self._epoch, self._deps.now())
        if made.manifest is not None or made.refused is not None:
            log.info("version_verdict", version=uid, refused=made.refused)
            return Done(), await fleet.endpoints_of(uid)
        if made.verify is None:
            return Done(), []
        request = CommandRequest(
            protocol_version=PROTOCOL_VERSION, epoch=self._epoch, command_id=made.verify.command_id, command=made.verify.command
        )
        step(Step.VERIFY_BEFORE)
        result = await self._deps.driver.command(made.verify.host, request)
        step(Step.VERIFY_SENT)
        if result.accepted:
            return Done(), []
        return TemporaryFailure(reason="VerifyRefused", message=result.message), []
