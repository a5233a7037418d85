"""Role bindings: which roles a principal holds in a project, or, on `*`, in the region."""

from datetime import datetime

from fleetform.domain.access import Caller, Role
from fleetform.domain.names import ALL_PROJECTS
from fleetform.domain.project import RoleBinding, RoleBindingSpec
from fleetform.errors import Forbidden, NotFound
from fleetform.store import credentials, database, projects, specs
from fleetform.store.tables import RoleBindingRow
from fleetform.store.writing import Page, Precondition, Written, cursor_of, key_of, size


async def get(project: str, principal: str) -> RoleBinding:
    """The binding; NotFound."""
    row = await specs.find(RoleBindingRow, {"project": project, "principal": principal})
    if row is None:
        raise _missing(project, principal)
    return _binding(row)


async def put(
    project: str, principal: str, spec: RoleBindingSpec, caller: Caller, precondition: Precondition, now: datetime
) -> Written[RoleBinding]:
    """Create or replace the binding, and settle the credentials of a token whose roles it changes.

    NotFound without the project; Forbidden for a role that the caller does not hold; Stale.
    """
    check_grant(caller, project, spec.roles)
    key = {"project": project, "principal": principal}
    async with database.transaction():
        if project != ALL_PROJECTS:
            await projects.hold(project)
        row = await specs.lock(RoleBindingRow, key)
        precondition.check(specs.generation(row))
        if row is not None and _binding(row).spec == spec:
            return Written(resource=_binding(row))
        new = await (specs.insert(RoleBindingRow, key, spec, now) if row is None else specs.replace(RoleBindingRow, row, key, spec))
        await credentials.settle_principal(principal, now)
        return Written(resource=_binding(new), created=row is None, changed=True)


async def delete(project: str, principal: str, precondition: Precondition, now: datetime) -> None:
    """Delete the binding; NotFound, Stale."""
    key = {"project": project, "principal": principal}
    async with database.transaction():
        row = await specs.lock(RoleBindingRow, key)
        if row is None:
            raise _missing(project, principal)
        precondition.check(row["generation"])
        await specs.delete(RoleBindingRow, key)
        await credentials.settle_principal(principal, now)


async def page(project: str, limit: int, cursor: str | None) -> Page[RoleBinding]:
    """The project's bindings by principal; NotFound without the project."""
    (last,) = key_of(cursor, 1)
    count = size(limit)
    found = await specs.after(RoleBindingRow, {"project": project}, "principal", last, count + 1)
    if not found and project != ALL_PROJECTS:
        await projects.require(project)
    items = tuple(_binding(row) for row in found[:count])
    return Page(items=items, next_cursor=cursor_of(items[-1].metadata.name) if len(found) > count else None)


def check_grant(caller: Caller, project: str, roles: list[Role]) -> None:
    """Forbidden when one of roles is not held by the caller in project."""
    missing = sorted(set(roles) - caller.roles_in(project))
    if missing:
        raise Forbidden(f"nobody grants a role that they do not hold; in project {project!r} you lack {', '.join(missing)}")


def _missing(project: str, principal: str) -> NotFound:
    return NotFound(f"no role binding of {principal!r} in project {project!r}")


def _binding(row: specs.Row) -> RoleBinding:
    spec = database.decode(RoleBindingSpec, row["spec"])
    return RoleBinding(metadata=specs.metadata(row, row["principal"], row["project"]), spec=spec)
