"""Projects: rows and what hangs on them."""

from datetime import datetime

from fleetform.domain.project import Project, ProjectSpec
from fleetform.errors import InUse, NotFound
from fleetform.store import database, specs
from fleetform.store.tables import ProjectRow
from fleetform.store.writing import ANY, Page, Precondition, Written, cursor_of, key_of, size

_CONTENTS = (
    "SELECT 'endpoint/' || name AS held FROM endpoint WHERE project = {} AND alive"
    " UNION ALL SELECT 'model-version/' || model || '/' || version FROM model_version WHERE project = {} AND deleted_at IS NULL"
    " UNION ALL SELECT 'quota/' || instance_type FROM quota WHERE project = {}"
    " UNION ALL SELECT 'token/' || name FROM token WHERE project = {}"
    " UNION ALL SELECT 'role-binding/' || principal FROM role_binding WHERE project = {}"
    " ORDER BY held LIMIT 100"
)


async def get(name: str) -> Project:
    """The project; NotFound."""
    row = await specs.find(ProjectRow, {"name": name})
    if row is None:
        raise _missing(name)
    return _project(row)


async def put(name: str, spec: ProjectSpec, precondition: Precondition, now: datetime) -> Written[Project]:
    """Create or replace the project; Stale."""
    async with database.transaction():
        row = await specs.lock(ProjectRow, {"name": name})
        precondition.check(specs.generation(row))
        if row is None:
            return Written(resource=_project(await specs.insert(ProjectRow, {"name": name}, spec, now)), created=True, changed=True)
        if _project(row).spec == spec:
            return Written(resource=_project(row))
        return Written(resource=_project(await specs.replace(ProjectRow, row, {"name": name}, spec)), changed=True)


async def delete(name: str, precondition: Precondition = ANY) -> None:
    """Delete the project; NotFound, Stale, or InUse with what is in it."""
    async with database.transaction():
        row = await specs.lock(ProjectRow, {"name": name})
        if row is None:
            raise _missing(name)
        precondition.check(row["generation"])
        held = [found["held"] for found in await database.rows(_CONTENTS, *[name] * 5)]
        if held:
            raise InUse(f"project {name!r} is not empty: {', '.join(held[:5])}", references=tuple(held))
        await specs.delete(ProjectRow, {"name": name})


async def page(names: tuple[str, ...] | None, limit: int, cursor: str | None) -> Page[Project]:
    """Projects by name. names: only these; None: all."""
    (last,) = key_of(cursor, 1)
    count = size(limit)
    if names is None:
        found = await specs.after(ProjectRow, {}, "name", last, count + 1)
    else:
        query = ProjectRow.select().where(ProjectRow.name.is_in(list(names) or [""])).where(ProjectRow.name > last)
        found = await query.order_by(ProjectRow.name).limit(count + 1)
    items = tuple(_project(row) for row in found[:count])
    return Page(items=items, next_cursor=cursor_of(items[-1].metadata.name) if len(found) > count else None)


async def hold(name: str) -> None:
    """Keep the project from being deleted until the transaction ends; NotFound when it is not there."""
    if not await database.rows("SELECT name FROM project WHERE name = {} FOR KEY SHARE", name):
        raise _missing(name)


async def require(name: str) -> None:
    """NotFound unless the project exists: for lists, which would otherwise be empty."""
    if await specs.find(ProjectRow, {"name": name}) is None:
        raise _missing(name)


def _missing(name: str) -> NotFound:
    return NotFound(f"no project {name!r}")


def _project(row: specs.Row) -> Project:
    return Project(metadata=specs.metadata(row, row["name"]), spec=database.decode(ProjectSpec, row["spec"]))
