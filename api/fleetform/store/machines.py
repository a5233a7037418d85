"""Instance types and declared engines."""

from datetime import datetime
from typing import Any

from fleetform.domain.machine import Engine, EngineSpec, InstanceType, InstanceTypeSpec
from fleetform.errors import FieldError, InUse, InvalidSpec, NotFound
from fleetform.store import changes, database, specs
from fleetform.store.tables import EngineRow, InstanceTypeRow
from fleetform.store.writing import Page, Precondition, Written, cursor_of, key_of, size

BUILT_IN_ENGINE = "vllm"
_ENGINE_USERS = (
    "SELECT DISTINCT e.uid FROM model_version v JOIN endpoint_version ev ON ev.version_uid = v.uid"
    " JOIN endpoint e ON e.uid = ev.endpoint_uid WHERE v.spec ->> 'engine' = {} AND v.deleted_at IS NULL AND e.alive"
)


async def get_instance_type(name: str) -> InstanceType:
    """The instance type; NotFound."""
    row = await specs.find(InstanceTypeRow, {"name": name})
    if row is None:
        raise NotFound(f"no instance type {name!r}")
    return _instance_type(row)


async def put_instance_type(name: str, spec: InstanceTypeSpec, precondition: Precondition, now: datetime) -> Written[InstanceType]:
    """Create or replace the instance type; whoever uses it is looked at anew. Stale."""
    key = {"name": name}
    async with database.transaction():
        row = await specs.lock(InstanceTypeRow, key)
        precondition.check(specs.generation(row))
        if row is None:
            return Written(resource=_instance_type(await specs.insert(InstanceTypeRow, key, spec, now)), created=True, changed=True)
        if _instance_type(row).spec == spec:
            return Written(resource=_instance_type(row))
        new = await specs.replace(InstanceTypeRow, row, key, spec)
        await changes.endpoints(await database.rows("SELECT uid FROM endpoint WHERE instance_type = {} AND alive", name))
        return Written(resource=_instance_type(new), changed=True)


async def delete_instance_type(name: str, precondition: Precondition) -> None:
    """Delete the instance type; NotFound, Stale, or InUse with the endpoints and quotas that name it."""
    async with database.transaction():
        row = await specs.lock(InstanceTypeRow, {"name": name})
        if row is None:
            raise NotFound(f"no instance type {name!r}")
        precondition.check(row["generation"])
        held = await database.rows(
            "SELECT 'projects/' || project || '/endpoints/' || name AS held FROM endpoint WHERE instance_type = {} AND alive"
            " UNION ALL SELECT 'projects/' || project || '/quotas/' || instance_type FROM quota WHERE instance_type = {}"
            " ORDER BY held LIMIT 100",
            name,
            name,
        )
        _refuse_if_held(f"instance type {name!r}", held)
        await specs.delete(InstanceTypeRow, {"name": name})


async def page_instance_types(limit: int, cursor: str | None) -> Page[InstanceType]:
    """Instance types by name."""
    (last,) = key_of(cursor, 1)
    count = size(limit)
    found = await specs.after(InstanceTypeRow, {}, "name", last, count + 1)
    items = tuple(_instance_type(row) for row in found[:count])
    return Page(items=items, next_cursor=cursor_of(items[-1].metadata.name) if len(found) > count else None)


async def get_engine(name: str) -> Engine:
    """The declared engine; NotFound."""
    row = await specs.find(EngineRow, {"name": name})
    if row is None:
        raise NotFound(f"no declared engine {name!r}")
    return _engine(row)


async def put_engine(name: str, spec: EngineSpec, precondition: Precondition, now: datetime) -> Written[Engine]:
    """Create or replace the engine; whoever uses it is looked at anew. InvalidSpec for the built-in one's name; Stale."""
    if name == BUILT_IN_ENGINE:
        raise InvalidSpec((FieldError("/name", f"{name!r} is built in; declare the engine under another name", "reserved"),))
    key = {"name": name}
    async with database.transaction():
        row = await specs.lock(EngineRow, key)
        precondition.check(specs.generation(row))
        if row is None:
            return Written(resource=_engine(await specs.insert(EngineRow, key, spec, now)), created=True, changed=True)
        if _engine(row).spec == spec:
            return Written(resource=_engine(row))
        new = await specs.replace(EngineRow, row, key, spec)
        await changes.endpoints(await database.rows(_ENGINE_USERS, name))
        return Written(resource=_engine(new), changed=True)


async def delete_engine(name: str, precondition: Precondition) -> None:
    """Delete the engine; NotFound, Stale, or InUse with the model versions that name it."""
    async with database.transaction():
        row = await specs.lock(EngineRow, {"name": name})
        if row is None:
            raise NotFound(f"no declared engine {name!r}")
        precondition.check(row["generation"])
        held = await database.rows(
            "SELECT 'projects/' || project || '/model-versions/' || model || '/' || version AS held FROM model_version"
            " WHERE spec ->> 'engine' = {} AND deleted_at IS NULL ORDER BY held LIMIT 100",
            name,
        )
        _refuse_if_held(f"engine {name!r}", held)
        await specs.delete(EngineRow, {"name": name})


async def page_engines(limit: int, cursor: str | None) -> Page[Engine]:
    """Declared engines by name."""
    (last,) = key_of(cursor, 1)
    count = size(limit)
    found = await specs.after(EngineRow, {}, "name", last, count + 1)
    items = tuple(_engine(row) for row in found[:count])
    return Page(items=items, next_cursor=cursor_of(items[-1].metadata.name) if len(found) > count else None)


def _refuse_if_held(what: str, held: list[dict[str, Any]]) -> None:
    if held:
        names = tuple(row["held"] for row in held)
        raise InUse(f"{what} is in use: {', '.join(names[:5])}", references=names)


def _instance_type(row: specs.Row) -> InstanceType:
    return InstanceType(metadata=specs.metadata(row, row["name"]), spec=database.decode(InstanceTypeSpec, row["spec"]))


def _engine(row: specs.Row) -> Engine:
    return Engine(metadata=specs.metadata(row, row["name"]), spec=database.decode(EngineSpec, row["spec"]))
