"""Condition types and their reasons. A reason stands here or nowhere."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

import msgspec

from fleetform.domain.base import Record


class ConditionType(StrEnum):
    READY = "Ready"
    PROGRESSING = "Progressing"
    ADMITTED = "Admitted"
    DEGRADED = "Degraded"
    VERIFIED = "Verified"
    CREDENTIALS_CURRENT = "CredentialsCurrent"


class Reason(StrEnum):
    # Ready
    SERVING = "Serving"
    SCALED_TO_ZERO = "ScaledToZero"
    STARTING = "Starting"
    NO_READY_REPLICA = "NoReadyReplica"
    ROLLED_BACK = "RolledBack"
    DELETING = "Deleting"
    # Progressing (Starting is shared)
    PLACING = "Placing"
    FETCHING = "Fetching"
    SHIFTING_TRAFFIC = "ShiftingTraffic"
    DRAINING = "Draining"
    SETTLED = "Settled"
    STALLED = "Stalled"
    # Admitted
    ADMITTED = "Admitted"
    QUOTA_EXHAUSTED = "QuotaExhausted"
    NO_CAPACITY = "NoCapacity"
    VERSION_NOT_VERIFIED = "VersionNotVerified"
    # Degraded
    NONE = "None"
    CRASH_LOOP = "CrashLoop"
    OOM_KILLED = "OOMKilled"
    HUNG = "Hung"
    SLOW = "Slow"
    HOST_UNREACHABLE = "HostUnreachable"
    CONFIG_REJECTED = "ConfigRejected"
    SCALING_LIMITED = "ScalingLimited"
    # Verified
    VERIFIED = "Verified"
    VERIFYING = "Verifying"
    ARTIFACT_MISSING = "ArtifactMissing"
    ACCESS_DENIED = "AccessDenied"
    DIGEST_MISMATCH = "DigestMismatch"
    PICKLE_REFUSED = "PickleRefused"
    CODE_REFUSED = "CodeRefused"
    RUNTIME_MISMATCH = "RuntimeMismatch"
    # CredentialsCurrent
    CURRENT = "Current"
    WIDENED = "Widened"


class Condition(Record, frozen=True, kw_only=True):
    """One statement about a resource. changed_at moves only when status does."""

    type: ConditionType
    status: bool
    reason: Reason
    message: str = ""
    changed_at: datetime


def condition(conditions: Iterable[Condition], type_: ConditionType) -> Condition | None:
    """The condition of that type, or None."""
    return next((c for c in conditions if c.type is type_), None)


def with_condition(
    conditions: tuple[Condition, ...], type_: ConditionType, status: bool, reason: Reason, message: str, now: datetime
) -> tuple[Condition, ...]:
    """conditions with one of them set; changed_at is kept while status stays, and the order never changes."""
    old = condition(conditions, type_)
    changed_at = old.changed_at if old is not None and old.status == status else now
    new = Condition(type=type_, status=status, reason=reason, message=message, changed_at=changed_at)
    if old is None:
        return (*conditions, new)
    return tuple(new if c.type is type_ else c for c in conditions)


def same_but_time(a: tuple[Condition, ...], b: tuple[Condition, ...]) -> bool:
    """True when nothing a reader could act on differs."""
    strip = [tuple(msgspec.structs.replace(c, changed_at=None) for c in side) for side in (a, b)]
    return strip[0] == strip[1]
