"""`plan_version`: a model version's artifact is verified once, by one host; its manifest is then frozen."""

from fleetform.domain.conditions import Reason
from fleetform.domain.desired import VersionDesired
from fleetform.domain.protocol import ArtifactState, VerifyArtifact
from fleetform.planner.model import Verify, VersionObserved, VersionPlan


def plan_version(desired: VersionDesired, observed: VersionObserved) -> VersionPlan:
    """What is done now for one model version. A verdict is final: what is frozen is never judged again.

    The host's instance is part of the command's id, so that a host which has lost its work starts it anew.
    """
    report = observed.report
    if desired.verified is not None:
        return VersionPlan()
    if report is None:
        return VersionPlan(verify=_command(desired, observed))
    if report.state is ArtifactState.VERIFIED:
        return VersionPlan(manifest=report.manifest)
    if report.state is ArtifactState.REFUSED:
        return VersionPlan(refused=_refusal(report.reason), message=report.message)
    return VersionPlan()


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
        framework=spec.framework,
        runtime=spec.runtime,
        engine_version=spec.engine_version or "",
    )
    return Verify(host=host, command_id=f"verify-{desired.uid}-{observed.hosts[host]}", command=command)


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
