"""When a wait is over: the rules of success and of final failure. Pure.

No word is believed alone: an endpoint is ready when the server has seen our generation, calls it ready, and what it serves is what
was wanted. `live` alone says too much: it is the last split that was fully routed, also while another one is on its way. A rollback
leaves an endpoint serving, and is a failure.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fleetform_sdk._generated import models

SUPERSEDED = "Superseded"
POLL_S = 2
"""Length of one long poll: how late a progress line or a failure can be."""


@dataclass(frozen=True)
class Ready:
    """What was wanted is what serves."""


@dataclass(frozen=True)
class Waiting:
    """Not yet."""


@dataclass(frozen=True)
class Failed:
    """It will not come about by waiting. evidence: the server's sentences and log lines."""

    reason: str
    message: str
    evidence: tuple[str, ...] = ()


Verdict = Ready | Waiting | Failed


def endpoint_verdict(endpoint: models.Endpoint, generation: int) -> Verdict:
    """Whether the spec of generation serves. Conditions of an older generation count for nothing, and a newer one has taken its place."""
    status, present = endpoint.status, endpoint.metadata.generation
    if present > generation:
        message = f"generation {generation} was replaced by generation {present}: somebody else changed the endpoint meanwhile"
        return Failed(SUPERSEDED, message)
    if status.observed_generation < generation:
        return Waiting()
    ready, progressing = _find(status.conditions, "Ready"), _find(status.conditions, "Progressing")
    if ready is not None and not ready.status and ready.reason == "RolledBack":
        return Failed(ready.reason, ready.message, _evidence(endpoint))
    if progressing is not None and not progressing.status and progressing.reason == "Stalled":
        return Failed(progressing.reason, progressing.message, _evidence(endpoint))
    if status.ready and _serves_what_is_wanted(status):
        return Ready()
    return Waiting()


def version_verdict(version: models.ModelVersion) -> Verdict:
    """Whether the artifact has been verified, or refused for good."""
    verified = _find(version.status.conditions, "Verified")
    if verified is None or (not verified.status and verified.reason == "Verifying"):
        return Waiting()
    return Ready() if verified.status else Failed(verified.reason, verified.message)


def waits_for_versions(endpoint: models.Endpoint) -> bool:
    """True while the endpoint is held up by a model version that is not verified."""
    admitted = _find(endpoint.status.conditions, "Admitted")
    return admitted is not None and not admitted.status and admitted.reason == "VersionNotVerified"


def _find(conditions: Iterable[models.Condition], type_: str) -> models.Condition | None:
    return next((condition for condition in conditions if condition.type == type_), None)


def _serves_what_is_wanted(status: models.EndpointStatus) -> bool:
    live, wanted = status.live, status.effective
    if live is None or wanted is None:
        return False
    return live.instance_type == wanted.instance_type and _with_traffic(live.variants) == _with_traffic(wanted.variants)


def _with_traffic(variants: dict[str, models.EffectiveVariant]) -> dict[str, models.EffectiveVariant]:
    return {name: variant for name, variant in variants.items() if variant.weight > 0}


def _evidence(endpoint: models.Endpoint) -> tuple[str, ...]:
    rejected, degraded = endpoint.status.rejected, _find(endpoint.status.conditions, "Degraded")
    if rejected is not None and rejected.evidence:
        return tuple(rejected.evidence)
    return tuple(degraded.message.splitlines()) if degraded is not None and degraded.status else ()
