"""`plan_version`: a model version's artifact is verified once, by one host; its manifest is then frozen."""

from datetime import datetime

import msgspec

from fleetform.domain.conditions import ConditionType, Reason, with_condition
from fleetform.domain.desired import VersionDesired
from fleetform.domain.events import NewEvent
from fleetform.domain.protocol import ArtifactReport, ArtifactState, VerifyArtifact
from fleetform.planner.model import Verify, VersionObserved, VersionPlan
from fleetform.planner.status import changed


def plan_version(desired: VersionDesired, observed: VersionObserved, now: datetime) -> VersionPlan:
    """What is done now for one model version. A verdict is final: what is frozen is never judged again.

    The host's instance is part of the command's id, so that a host which has lost its work starts it anew.
    """
    if desired.verified is not None:
        return VersionPlan(status=desired.status, verified=desired.verified)
    report = observed.report
    if report is not None and report.state is ArtifactState.VERIFIED and report.manifest is not None:
        return _verdict(desired, report, Reason.VERIFIED, "", now)
    if report is not None and report.state is ArtifactState.REFUSED:
        return _verdict(desired, report, _refusal(report.reason), report.message, now)
    waiting = "" if observed.hosts else "no host answers that could read the artifact"
    conditions = with_condition(desired.status.conditions, ConditionType.VERIFIED, False, Reason.VERIFYING, waiting, now)
    status = msgspec.structs.replace(desired.status, conditions=conditions)
    return VersionPlan(status=status, verify=_command(desired, observed) if report is None else None)


def _command(desired: VersionDesired, observed: VersionObserved) -> Verify | None:
    if not observed.hosts:
        return None
    host = min(observed.hosts)
    spec = desired.spec
    command = VerifyArtifact(
        version_uid=desired.uid,
        artifact=spec.artifact,
        prefixes=desired.prefixes,
        expected_digest=desired.pinned_digest,
        allow_remote_code=bool(spec.allow_remote_code),
        engine=spec.engine or "vllm",
        format=spec.format or "",
        task=spec.task or "",
        runtime=spec.runtime,
    )
    return Verify(host=host, command_id=f"verify-{desired.uid}-{observed.hosts[host]}", command=command)


def _verdict(desired: VersionDesired, report: ArtifactReport, reason: Reason, message: str, now: datetime) -> VersionPlan:
    verified = reason is Reason.VERIFIED
    manifest = report.manifest if verified else None
    conditions = with_condition(desired.status.conditions, ConditionType.VERIFIED, verified, reason, message, now)
    status = msgspec.structs.replace(desired.status, conditions=conditions)
    if manifest is not None:
        status = msgspec.structs.replace(
            status, digest=manifest.digest, size_bytes=manifest.size_bytes, format=manifest.format, task=manifest.task
        )
    kind = "Normal" if verified else "Warning"
    events = tuple(
        NewEvent(kind=kind, reason=c.reason, message=c.message or f"{status.ref} is verified")
        for c in changed(desired.status.conditions, conditions)
    )
    return VersionPlan(status=status, verified=verified, manifest=manifest, events=events)


REFUSALS = frozenset(
    {
        Reason.ARTIFACT_MISSING,
        Reason.ACCESS_DENIED,
        Reason.DIGEST_MISMATCH,
        Reason.PICKLE_REFUSED,
        Reason.CODE_REFUSED,
        Reason.RUNTIME_MISMATCH,
    }
)


def _refusal(reason: str) -> Reason:
    """The host's word for a refusal; one that this release does not know is told as a missing artifact, with the host's message."""
    return Reason(reason) if reason in REFUSALS else Reason.ARTIFACT_MISSING
