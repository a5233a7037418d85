"""What the reconciler reads of endpoints and model versions, in few statements each."""

import asyncio
from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from fleetform.domain.base import Record
from fleetform.domain.conditions import ConditionType, condition
from fleetform.domain.desired import Desired, VersionDesired, VersionFacts
from fleetform.domain.effective import EffectiveEndpoint
from fleetform.domain.endpoint import EndpointStatus
from fleetform.domain.machine import Capacity, EngineSpec, InstanceTypeSpec, Reservation, Shape
from fleetform.domain.model import Manifest, ModelVersionSpec, ModelVersionStatus
from fleetform.domain.names import split_model_ref
from fleetform.domain.project import ProjectSpec
from fleetform.domain.replica import Replica
from fleetform.domain.rollout import RolloutState, StartTimes
from fleetform.domain.scaling import ScalingDecision
from fleetform.store import hosts, quotas
from fleetform.store.database import decode, rows


class RecordedReplica(Record, frozen=True, kw_only=True):
    """A replica's row. holds: it has a reservation, which is of instance_type."""

    replica: Replica
    holds: bool
    instance_type: str = ""


class EndpointFacts(Record, frozen=True, kw_only=True):
    """All that is recorded of one endpoint, but for the capacity of hosts. start_times: by track id, of the tracks in use."""

    desired: Desired
    status: EndpointStatus
    rollout: RolloutState | None
    replicas: tuple[RecordedReplica, ...]
    booked: int
    revision: int
    scaling: ScalingDecision | None = None
    start_times: dict[str, StartTimes] = {}

    @property
    def held(self) -> int:
        """Reservations of the instance type that is wanted."""
        return sum(1 for r in self.replicas if r.holds and r.instance_type == self.desired.effective.instance_type)


async def load(uid: str) -> EndpointFacts | None:
    """One endpoint, or None when there is none, or only its tombstone."""
    found = await rows(_ENDPOINT, uid)
    if not found:
        return None
    row = found[0]
    effective = decode(EffectiveEndpoint, row["effective"])
    rollout = None if row["rollout"] is None else decode(RolloutState, row["rollout"])
    refs = {variant.model_version for variant in effective.variants.values()}
    refs |= set() if rollout is None else {track.model_version for track in rollout.tracks.values()}
    # Side by side on two connections: this is on the way of every change.
    versions, replicas = await asyncio.gather(_versions(row["project"], refs), _replicas(uid))
    desired = Desired(
        uid=uid,
        project=row["project"],
        name=row["name"],
        generation=row["generation"],
        created_at=row["created_at"],
        effective=effective,
        versions=versions,
        shape=None if row["type_spec"] is None else shape_of(decode(InstanceTypeSpec, row["type_spec"])),
        prefixes=() if row["project_spec"] is None else tuple(decode(ProjectSpec, row["project_spec"]).artifact_prefixes or ()),
        deleting=row["deleting_at"] is not None,
    )
    return EndpointFacts(
        desired=desired,
        status=decode(EndpointStatus, row["status"]),
        rollout=rollout,
        replicas=replicas,
        booked=row["booked"],
        revision=row["revision"],
        scaling=None if row["scaling"] is None else decode(ScalingDecision, row["scaling"]),
    )


def shape_of(spec: InstanceTypeSpec) -> Shape:
    """What one replica of the instance type takes."""
    return Shape(
        cpu_millis=spec.cpu_millis,
        memory_mib=spec.memory_mib,
        accelerator=spec.accelerator or None,
        accelerator_count=spec.accelerator_count or 0,
        accelerator_memory_mib=spec.accelerator_memory_mib or 0,
    )


async def _versions(project: str, refs: set[str]) -> dict[str, VersionFacts]:
    split = [parts for ref in sorted(refs) if (parts := split_model_ref(ref)) is not None]
    models, versions = [model for model, _ in split], [version for _, version in split]
    found = await rows(_VERSIONS, models, versions, project)
    return {facts.ref: facts for facts in map(_version_facts, found)}


def _version_facts(row: dict[str, Any]) -> VersionFacts:
    spec = decode(ModelVersionSpec, row["spec"])
    status = decode(ModelVersionStatus, row["status"])
    verdict = condition(status.conditions, ConditionType.VERIFIED)
    return VersionFacts(
        uid=str(row["uid"]),
        ref=f"{row['model']}:{row['version']}",
        artifact=spec.artifact,
        engine=spec.engine or "vllm",
        quantization=spec.quantization or None,
        allow_remote_code=bool(spec.allow_remote_code),
        manifest=None if row["manifest"] is None else decode(Manifest, row["manifest"]),
        verified=row["verified"],
        message="" if verdict is None else verdict.message,
        command=None if row["engine_spec"] is None else decode(EngineSpec, row["engine_spec"]),
        deleted=row["deleted_at"] is not None,
    )


async def _replicas(uid: str) -> tuple[RecordedReplica, ...]:
    return tuple(
        RecordedReplica(
            replica=decode(Replica, row["body"]), holds=row["instance_type"] is not None, instance_type=row["instance_type"] or ""
        )
        for row in await rows(_REPLICAS, uid)
    )


async def capacity(project: str, instance_type: str, others: Collection[str] = ()) -> Capacity:
    """Every host, every reservation, and the project's quota of the instance type. others: types of which it is told what is free."""
    reserved = await rows(_RESERVATIONS)
    quota = await rows(_QUOTA, project, instance_type)
    return Capacity(
        hosts=await hosts.all_hosts(),
        reservations=tuple(
            Reservation(
                replica_id=row["replica_id"],
                host=row["host"],
                cpu_millis=row["cpu_millis"],
                memory_mib=row["memory_mib"],
                devices=tuple(row["devices"]),
            )
            for row in reserved
        ),
        quota_limit=quota[0]["max_replicas"] if quota else 0,
        quota_used=(await quotas.use(project, instance_type, UUID(int=0))).used,
        free_elsewhere={other: await _free(project, other) for other in sorted(others)},
    )


async def _free(project: str, instance_type: str) -> int:
    quota = await rows(_QUOTA, project, instance_type)
    return (quota[0]["max_replicas"] if quota else 0) - (await quotas.use(project, instance_type, UUID(int=0))).used


async def living_endpoints() -> list[str]:
    """Uids of all endpoints that are not tombstones."""
    return [str(row["uid"]) for row in await rows("SELECT uid FROM endpoint WHERE alive ORDER BY created_at, uid")]


async def unverified_versions() -> list[str]:
    """Uids of model versions without a verdict."""
    return [str(row["uid"]) for row in await rows("SELECT uid FROM model_version WHERE deleted_at IS NULL AND verified IS NULL")]


async def endpoints_of(version_uid: str) -> list[str]:
    """Uids of endpoints that refer to a model version."""
    found = await rows("SELECT endpoint_uid FROM endpoint_version WHERE version_uid = {}", version_uid)
    return [str(row["endpoint_uid"]) for row in found]


async def known_replicas(ids: list[str]) -> set[str]:
    """Those of ids that have a row."""
    return {row["replica_id"] for row in await rows("SELECT replica_id FROM replica WHERE replica_id = ANY({}::text[])", ids)}


async def load_version(uid: str) -> VersionDesired | None:
    """One model version, or None when there is none, or only its tombstone."""
    found = await rows(_VERSION, uid)
    if not found:
        return None
    row = found[0]
    return VersionDesired(
        uid=uid,
        spec=decode(ModelVersionSpec, row["spec"]),
        prefixes=() if row["project_spec"] is None else tuple(decode(ProjectSpec, row["project_spec"]).artifact_prefixes or ()),
        verified=row["verified"],
        pinned_digest=row["pinned_digest"],
    )


async def revoked(now: datetime) -> dict[str, int]:
    """Revoked credentials that would still be valid: id → when they would have expired, in seconds since the epoch."""
    return {row["jti"]: int(row["expires_at"].timestamp()) for row in await rows(_REVOKED, now)}


_ENDPOINT = """
SELECT e.project, e.name, e.generation, e.revision, e.created_at, e.deleting_at, e.booked, e.effective, e.status, e.rollout, e.scaling,
       p.spec AS project_spec, t.spec AS type_spec
FROM endpoint e LEFT JOIN project p ON p.name = e.project LEFT JOIN instance_type t ON t.name = e.instance_type
WHERE e.uid = {} AND e.alive
"""
_VERSIONS = """
SELECT m.uid, m.model, m.version, m.spec, m.status, m.manifest, m.verified, m.deleted_at, g.spec AS engine_spec
FROM unnest({}::text[], {}::text[]) AS w (model, version)
JOIN model_version m ON m.model = w.model AND m.version = w.version AND m.project = {}
LEFT JOIN engine g ON g.name = m.spec ->> 'engine'
"""
_REPLICAS = """
SELECT r.body, v.instance_type FROM replica r LEFT JOIN reservation v ON v.replica_id = r.replica_id
WHERE r.endpoint_uid = {} ORDER BY r.replica_id
"""
_RESERVATIONS = """
SELECT v.replica_id, v.host, v.cpu_millis, v.memory_mib,
       array(SELECT d.device FROM device_reservation d WHERE d.replica_id = v.replica_id) AS devices
FROM reservation v
"""
_QUOTA = "SELECT max_replicas FROM quota WHERE project = {} AND instance_type = {}"
_VERSION = """
SELECT m.spec, m.verified, m.pinned_digest, p.spec AS project_spec
FROM model_version m LEFT JOIN project p ON p.name = m.project
WHERE m.uid = {} AND m.deleted_at IS NULL
"""
_REVOKED = "SELECT jti, expires_at FROM credential WHERE revoked_at IS NOT NULL AND expires_at > {}"
