"""One model version: load, plan, record, apply."""

import asyncio

import structlog

from fleetform.domain.desired import VersionDesired
from fleetform.domain.model import Manifest
from fleetform.domain.protocol import PROTOCOL_VERSION, CommandRequest, Prefetch
from fleetform.errors import AppError, NotLeader
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
        self._verified: dict[str, Prefetch] = {}

    async def reconcile(self, uid: str) -> tuple[Outcome, list[str]]:
        """Bring one version a step further; uids of the endpoints that its verdict concerns. NotLeader when another server leads."""
        desired = await fleet.load_version(uid)
        if desired is None:
            return Done(), []
        made = plan_version(desired, VersionObserved(hosts=self._sight.instances(), report=self._sight.artifact(uid)))
        if made.manifest is not None:
            await recording.record_verified(uid, made.manifest, SHARD, self._epoch, self._deps.now())
            self._verified[uid] = _prefetch(desired, made.manifest)
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

    async def spread(self, uid: str) -> None:
        """Have every host that answers fetch a version that has just been verified, so that no start waits for its transfer.

        A favour, done once: what a host misses of it costs the first start there a transfer. NotLeader when another server leads.
        """
        command = self._verified.pop(uid, None)
        if command is None:
            return
        hosts = self._sight.instances()
        sends = (self._offer(host, f"prefetch-{uid}-{instance}", command) for host, instance in hosts.items())
        await asyncio.gather(*sends)

    async def _offer(self, host: str, command_id: str, command: Prefetch) -> None:
        request = CommandRequest(protocol_version=PROTOCOL_VERSION, epoch=self._epoch, command_id=command_id, command=command)
        try:
            await self._deps.driver.command(host, request)
        except NotLeader:
            raise
        except AppError as error:
            log.info("not_prefetched", version=command.version_uid, host=host, reason=error.reason, message=error.message)


def _prefetch(desired: VersionDesired, manifest: Manifest) -> Prefetch:
    return Prefetch(version_uid=desired.uid, manifest=manifest, artifact=desired.spec.artifact, prefixes=desired.prefixes)
