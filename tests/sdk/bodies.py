"""Resources as the control API sends them, made from the domain's own structs so that the two cannot part."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from fleetform.domain.access import Role
from fleetform.domain.base import Metadata
from fleetform.domain.conditions import Condition, ConditionType, Reason
from fleetform.domain.effective import EffectiveVariant, effective
from fleetform.domain.endpoint import Endpoint, EndpointStatus, LiveState, Rejected, ReplicaCounts
from fleetform.domain.endpoint_spec import EndpointSpec, VariantSpec
from fleetform.domain.events import Event
from fleetform.domain.machine import Engine, EngineSpec, InstanceType, InstanceTypeSpec
from fleetform.domain.model import ModelVersion, ModelVersionSpec, ModelVersionStatus
from fleetform.domain.project import (
    Credential,
    CredentialInfo,
    Project,
    ProjectSpec,
    Quota,
    QuotaHolder,
    QuotaSpec,
    QuotaStatus,
    RoleBinding,
    RoleBindingSpec,
    Token,
    TokenSpec,
    TokenStatus,
)
from fleetform.domain.replica import ReplicaPhase, ReplicaView
from fleetform.domain.rollout import Rollout, RolloutPhase, RolloutStep

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
READY = (ConditionType.READY, True, Reason.SERVING, "")
SETTLED = (ConditionType.PROGRESSING, False, Reason.SETTLED, "")

ConditionFacts = tuple[ConditionType, bool, Reason, str]


def metadata(name: str, generation: int = 1) -> Metadata:
    """Metadata of a resource of project acme."""
    return Metadata(name=name, uid=f"uid-{name}", generation=generation, created_at=AT, project="acme")


def endpoint(
    split: Mapping[str, int] | None = None,
    *,
    name: str = "prod",
    generation: int = 1,
    observed: int | None = None,
    live: Mapping[str, int] | None = None,
    conditions: tuple[ConditionFacts, ...] = (READY, SETTLED),
    rejected: Rejected | None = None,
    replicas: tuple[int, int] = (1, 1),
    revision: int = 1,
) -> Any:
    """An endpoint of model acme-summarizer as JSON. split: wanted percent by version; live: what serves, by default the same."""
    wanted = dict(split or {"v1.4": 100})
    spec = EndpointSpec(
        instance_type="cpu-small", variants={v: VariantSpec(model_version=f"acme-summarizer:{v}", weight=w) for v, w in wanted.items()}
    )
    serving = {v: EffectiveVariant(model_version=f"acme-summarizer:{v}", weight=w) for v, w in (wanted if live is None else live).items()}
    status = EndpointStatus(
        observed_generation=generation if observed is None else observed,
        revision=revision,
        phase="Ready" if READY in conditions else "Progressing",
        conditions=tuple(Condition(type=t, status=s, reason=r, message=m, changed_at=AT) for t, s, r, m in conditions),
        effective=effective(spec),
        live=LiveState(generation=generation, variants=serving, instance_type="cpu-small"),
        rejected=rejected,
        replicas=ReplicaCounts(ready=replicas[0], wanted=replicas[1]),
        url="http://127.0.0.1:7080/v1",
        model=name,
        ready=READY in conditions and SETTLED in conditions,
    )
    return msgspec.to_builtins(Endpoint(metadata=metadata(name, generation), spec=spec, status=status))


def model_version(verified: bool = True, reason: Reason = Reason.VERIFIED, message: str = "", version: str = "v1.4") -> Any:
    """A version of acme-summarizer as JSON."""
    spec = ModelVersionSpec(artifact="file:///models/a/", framework="pytorch", runtime="cpu")
    condition = Condition(type=ConditionType.VERIFIED, status=verified, reason=reason, message=message, changed_at=AT)
    status = ModelVersionStatus(ref=f"acme-summarizer:{version}", conditions=(condition,), digest="d" * 64 if verified else "")
    return msgspec.to_builtins(ModelVersion(metadata=metadata(version), model="acme-summarizer", spec=spec, status=status))


def token() -> Any:
    """A token with one live credential as JSON."""
    spec = TokenSpec(roles=[Role.INVOKER])
    status = TokenStatus(credentials=(CredentialInfo(id="0123456789abcdef", created_at=AT, expires_at=AT),))
    return msgspec.to_builtins(Token(metadata=metadata("rag-app"), spec=spec, status=status))


def credential() -> Any:
    """A freshly minted credential as JSON."""
    return msgspec.to_builtins(Credential(id="0123456789abcdef", secret="cd-minted", expires_at=AT))


def quota() -> Any:
    """A quota of 20, 3 of them used, as JSON."""
    status = QuotaStatus(used=3, free=17, holders=(QuotaHolder(endpoint="prod", replicas=3),))
    return msgspec.to_builtins(Quota(metadata=metadata("cpu-small"), spec=QuotaSpec(max_replicas=20), status=status))


def project() -> Any:
    """A project as JSON."""
    return msgspec.to_builtins(Project(metadata=metadata("acme"), spec=ProjectSpec(artifact_prefixes=["file:///models/"])))


def role_binding() -> Any:
    """A role binding as JSON."""
    return msgspec.to_builtins(RoleBinding(metadata=metadata("user:rahim"), spec=RoleBindingSpec(roles=[Role.DEPLOYER])))


def instance_type() -> Any:
    """An instance type as JSON."""
    return msgspec.to_builtins(InstanceType(metadata=metadata("cpu-small"), spec=InstanceTypeSpec(cpu_millis=500, memory_mib=5120)))


def engine() -> Any:
    """A declared engine as JSON."""
    return msgspec.to_builtins(Engine(metadata=metadata("stub"), spec=EngineSpec(argv=["stub", "{socket}"])))


def replica(id_: str = "r-1", phase: ReplicaPhase = ReplicaPhase.READY) -> Any:
    """A replica as JSON."""
    view = ReplicaView(id=id_, variant="v1.4", model_version="acme-summarizer:v1.4", phase=phase, host="host-1", devices=(), age_s=75)
    return msgspec.to_builtins(view)


def event(seq: int = 1) -> Any:
    """An event as JSON."""
    return msgspec.to_builtins(Event(seq=seq, at=AT, kind="Normal", reason="ReplicaReady", message="replica r-1 is ready", generation=1))


def page(*items: Any, next_cursor: str | None = None) -> Any:
    """One page of a list as JSON."""
    return {"items": list(items), "next_cursor": next_cursor}


def rollout(*steps: RolloutStep, phase: RolloutPhase = RolloutPhase.RUNNING, generation: int = 2, reason: str = "") -> Any:
    """A rollout of endpoint prod from v1.4 to v1.5 as JSON."""
    found = Rollout(
        generation=generation,
        phase=phase,
        strategy="surge",
        started_at=AT,
        old={"v1.4": 100},
        new={"v1.5": 100},
        steps=steps,
        reason=reason,
        evidence=steps[-1].evidence if reason else (),
    )
    return msgspec.to_builtins(found)
