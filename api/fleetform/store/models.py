"""Model versions: registered once, verified by a host, and gone with a tombstone that keeps their digest."""

from datetime import datetime
from uuid import UUID, uuid4

import msgspec

from fleetform.domain.access import Caller
from fleetform.domain.conditions import ConditionType, Reason, condition, with_condition
from fleetform.domain.model import Manifest, ModelVersion, ModelVersionSpec, ModelVersionStatus
from fleetform.domain.names import split_model_ref
from fleetform.domain.project import ProjectSpec
from fleetform.domain.rollout import RolloutState
from fleetform.errors import FieldError, Forbidden, Immutable, InUse, InvalidSpec, NotFound
from fleetform.store import changes, database, events, projects, specs
from fleetform.store.machines import BUILT_IN_ENGINE
from fleetform.store.tables import EngineRow, ModelVersionRow, ProjectRow
from fleetform.store.writing import Page, Precondition, Written, cursor_of, key_of, size

_HOLDERS = (
    "SELECT e.uid, e.name, e.rollout, ev.held_by FROM endpoint_version ev JOIN endpoint e ON e.uid = ev.endpoint_uid"
    " WHERE ev.version_uid = {} AND e.alive ORDER BY e.name"
)


async def get(project: str, model: str, version: str) -> ModelVersion:
    """The version; NotFound, also for a tombstone."""
    row = await specs.find(ModelVersionRow, {"project": project, "model": model, "version": version})
    if row is None or row["deleted_at"] is not None:
        raise _missing(project, model, version)
    return of_row(row)


async def put(
    project: str, model: str, version: str, spec: ModelVersionSpec, caller: Caller, precondition: Precondition, now: datetime
) -> Written[ModelVersion]:
    """Register the version, or answer the registered one when spec is the same.

    NotFound without the project; Immutable when a field differs, or the pinned digest from the tombstone's; InvalidSpec for an artifact
    outside the project's prefixes, an engine that is not declared, or a declared one's version; Forbidden for allow_remote_code by others
    than region administrators.
    """
    key = {"project": project, "model": model, "version": version}
    async with database.transaction():
        await projects.hold(project)
        row = await specs.lock(ModelVersionRow, key)
        alive = row is not None and row["deleted_at"] is None
        precondition.check(row["generation"] if row is not None and alive else None)
        if row is not None and alive:
            _check_same(database.decode(ModelVersionSpec, row["spec"]), spec)
            return Written(resource=of_row(row))
        await _check_spec(project, spec, caller)
        return Written(resource=await _register(key, row, spec, now), created=True, changed=True)


async def delete(project: str, model: str, version: str, precondition: Precondition, now: datetime) -> None:
    """Leave a tombstone in the version's place; a bake that still holds it ends.

    NotFound; Stale; InUse with the endpoints whose spec names it or whose traffic still reaches it.
    """
    key = {"project": project, "model": model, "version": version}
    async with database.transaction():
        row = await specs.lock(ModelVersionRow, key)
        if row is None or row["deleted_at"] is not None:
            raise _missing(project, model, version)
        precondition.check(row["generation"])
        ref = f"{model}:{version}"
        holders = await database.rows(_HOLDERS, row["uid"])
        blocking = tuple(f"endpoint/{h['name']}" for h in holders if h["held_by"] == "spec" or _serves(h["rollout"], ref))
        if blocking:
            raise InUse(f"model version {ref!r} is in use by {', '.join(blocking[:5])}", references=blocking[:100])
        await specs.update(ModelVersionRow, key, deleted_at=now, revision=row["revision"] + 1)
        await database.rows("DELETE FROM endpoint_version WHERE version_uid = {}", row["uid"])
        await database.rows("DELETE FROM start_time WHERE version_uid = {}", row["uid"])
        await events.append(row["uid"], project, now, "Deleted", f"{ref} was deleted")
        await changes.version(row["uid"])
        for holder in holders:
            await changes.endpoint(holder["uid"])


async def page(project: str, limit: int, cursor: str | None) -> Page[ModelVersion]:
    """The project's versions by model and version; NotFound without the project."""
    model, version = key_of(cursor, 2)
    count = size(limit)
    found = await database.rows(
        "SELECT * FROM model_version WHERE project = {} AND deleted_at IS NULL AND (model, version) > ({}, {})"
        " ORDER BY model, version LIMIT {}",
        project,
        model,
        version,
        count + 1,
    )
    if not found:
        await projects.require(project)
    items = tuple(of_row(row) for row in found[:count])
    return Page(items=items, next_cursor=cursor_of(items[-1].model, items[-1].metadata.name) if len(found) > count else None)


async def set_verified(uid: UUID | str, manifest: Manifest, now: datetime) -> None:
    """Freeze the manifest, or refuse the version when its digest is not the pinned one. Does nothing once either is done.

    Inside the caller's transaction.
    """
    row = await _unverified(uid)
    if row is None:
        return
    if row["pinned_digest"] not in ("", manifest.digest):
        message = f"the artifact's digest is {manifest.digest}, not {row['pinned_digest']}"
        await _settle(row, False, Reason.DIGEST_MISMATCH, message, now)
        return
    await specs.update(ModelVersionRow, {"uid": row["uid"]}, manifest=database.encode(manifest))
    await _settle(row, True, Reason.VERIFIED, "", now, manifest)


async def set_refused(uid: UUID | str, reason: Reason, message: str, now: datetime) -> None:
    """Verified=False for good, with a reason and a sentence. Does nothing once the version is verified or refused.

    Inside the caller's transaction.
    """
    row = await _unverified(uid)
    if row is not None:
        await _settle(row, False, reason, message, now)


def is_settled(version: ModelVersion) -> bool:
    """True once the version is verified or refused."""
    verified = condition(version.status.conditions, ConditionType.VERIFIED)
    return verified is not None and verified.reason is not Reason.VERIFYING


def of_row(row: specs.Row) -> ModelVersion:
    """The version that a row holds."""
    status = msgspec.structs.replace(database.decode(ModelVersionStatus, row["status"]), revision=row["revision"])
    spec = database.decode(ModelVersionSpec, row["spec"])
    return ModelVersion(metadata=specs.metadata(row, row["version"], row["project"]), model=row["model"], spec=spec, status=status)


async def _register(key: specs.Key, tombstone: specs.Row | None, spec: ModelVersionSpec, now: datetime) -> ModelVersion:
    ref = f"{key['model']}:{key['version']}"
    kept = database.decode(Manifest, tombstone["manifest"]).digest if tombstone and tombstone["manifest"] else ""
    pinned = spec.sha256 or ""
    if kept and pinned not in ("", kept):
        raise Immutable(f"{ref} was registered before with digest {kept}; register a new version", fields=("sha256",))
    status = ModelVersionStatus(ref=ref, conditions=with_condition((), ConditionType.VERIFIED, False, Reason.VERIFYING, "", now))
    columns = {"status": database.encode(status), "pinned_digest": pinned or kept, "revision": 1, "verified": None, "manifest": None}
    if tombstone is None:
        row = await specs.insert(ModelVersionRow, key, spec, now, **columns)
    else:
        columns |= {"uid": uuid4(), "generation": 1, "created_at": now, "deleted_at": None, "spec": database.encode(spec)}
        # The tombstone's manifest stays until the new one is frozen, so that deleting it again keeps the digest.
        del columns["manifest"]
        await specs.update(ModelVersionRow, key, **columns)
        row = {**tombstone, **columns}
    await events.append(row["uid"], key["project"], now, "Registered", f"{ref} was registered from {spec.artifact}", generation=1)
    await changes.version(row["uid"])
    return of_row(row)


async def _check_spec(project: str, spec: ModelVersionSpec, caller: Caller) -> None:
    if spec.allow_remote_code is True and not caller.is_region_admin:
        raise Forbidden("allow_remote_code is for region administrators: it runs the artifact's own code")
    errors = []
    row = await specs.find(ProjectRow, {"name": project})
    prefixes = (database.decode(ProjectSpec, row["spec"]).artifact_prefixes if row else None) or []
    if not any(spec.artifact.startswith(prefix.rstrip("/") + "/") for prefix in prefixes):
        allowed = ", ".join(prefixes) or "none; a region administrator sets artifact_prefixes"
        errors.append(
            FieldError("/spec/artifact", f"must lie below one of the project's artifact_prefixes ({allowed})", "outside_prefixes")
        )
    engine = spec.engine or BUILT_IN_ENGINE
    if engine != BUILT_IN_ENGINE and await specs.find(EngineRow, {"name": engine}) is None:
        errors.append(FieldError("/spec/engine", f"no engine {engine!r} is declared in this region", "not_found"))
    if engine != BUILT_IN_ENGINE and spec.engine_version:
        detail = f"the version of the declared engine {engine!r} is not known here; leave it out, and name the version in the engine's name"
        errors.append(FieldError("/spec/engine_version", detail, "unsupported"))
    if spec.parent and split_model_ref(spec.parent) is None:
        errors.append(FieldError("/spec/parent", "must be 'model:version'", "invalid_value"))
    if errors:
        raise InvalidSpec(tuple(errors))


def _check_same(registered: ModelVersionSpec, wanted: ModelVersionSpec) -> None:
    fields = tuple(f.encode_name for f in msgspec.structs.fields(wanted) if getattr(registered, f.name) != getattr(wanted, f.name))
    if fields:
        raise Immutable(f"a model version never changes; {', '.join(fields)} differ: register a new version", fields=fields)


def _serves(rollout: str | None, ref: str) -> bool:
    """True when traffic reaches the version, or may on its way from the old split to the new."""
    if rollout is None:
        return False
    state = database.decode(RolloutState, rollout)
    splits = (state.in_force, state.new) if state.settled else (state.in_force, state.old, state.new)
    serving = {track for split in splits for track, weight in split.items() if weight > 0}
    return any(track.model_version == ref for name, track in state.tracks.items() if name in serving)


async def _unverified(uid: UUID | str) -> specs.Row | None:
    found = await database.rows(
        "SELECT * FROM model_version WHERE uid = {} AND deleted_at IS NULL AND verified IS NULL FOR UPDATE", UUID(str(uid))
    )
    return found[0] if found else None


async def _settle(row: specs.Row, verified: bool, reason: Reason, message: str, now: datetime, manifest: Manifest | None = None) -> None:
    old = database.decode(ModelVersionStatus, row["status"])
    status = msgspec.structs.replace(old, conditions=with_condition(old.conditions, ConditionType.VERIFIED, verified, reason, message, now))
    if manifest is not None:
        status = msgspec.structs.replace(
            status, digest=manifest.digest, size_bytes=manifest.size_bytes, format=manifest.format, task=manifest.task
        )
    columns = {"verified": verified, "status": database.encode(status), "revision": row["revision"] + 1}
    await specs.update(ModelVersionRow, {"uid": row["uid"]}, **columns)
    kind = events.NORMAL if verified else events.WARNING
    await events.append(row["uid"], row["project"], now, reason, message or f"{old.ref} was verified", kind=kind, generation=1)
    await changes.status(row["uid"])


def _missing(project: str, model: str, version: str) -> NotFound:
    return NotFound(f"no model version {model}:{version} in project {project!r}")
