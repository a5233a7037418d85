"""Quotas: how many replicas of an instance type a project may hold, and who holds them.

An endpoint holds the larger of what its PUT has booked and what is reserved for it now. Whoever books or reserves locks the quota's
row first (`lock`), so that two of them never see the same room.
"""

from datetime import datetime
from uuid import UUID

from fleetform.domain.access import Caller
from fleetform.domain.machine import InstanceTypeSpec
from fleetform.domain.project import Quota, QuotaHolder, QuotaSpec, QuotaStatus
from fleetform.errors import FieldError, Forbidden, InUse, InvalidSpec, NotFound, QuotaExceeded
from fleetform.store import changes, database, projects, specs
from fleetform.store.tables import InstanceTypeRow, QuotaRow
from fleetform.store.writing import Page, Precondition, Written, cursor_of, key_of, size

_HELD = (
    "WITH booked AS (SELECT instance_type, uid, booked FROM endpoint"
    "  WHERE project = {} AND instance_type = ANY({}::text[]) AND alive AND booked > 0),"
    " reserved AS (SELECT instance_type, endpoint_uid AS uid, count(*) AS number FROM reservation"
    "  WHERE project = {} AND instance_type = ANY({}::text[]) GROUP BY 1, 2),"
    " held AS (SELECT instance_type, uid, GREATEST(COALESCE(booked, 0), COALESCE(number, 0)) AS replicas"
    "  FROM booked FULL JOIN reserved USING (instance_type, uid)) "
)
_USE = _HELD + (  # noqa: S608  # constants only
    "SELECT COALESCE(sum(replicas), 0)::bigint AS used, COALESCE(sum(replicas) FILTER (WHERE uid <> {}), 0)::bigint AS by_others FROM held"
)
_HOLDERS = _HELD + (  # noqa: S608  # constants only
    "SELECT instance_type, name, replicas, used FROM (SELECT h.instance_type, e.name, h.replicas,"
    " (sum(h.replicas) OVER (PARTITION BY h.instance_type))::bigint AS used,"
    " row_number() OVER (PARTITION BY h.instance_type ORDER BY h.replicas DESC, e.name) AS place"
    " FROM held h JOIN endpoint e ON e.uid = h.uid WHERE h.replicas > 0) found WHERE place <= {} ORDER BY instance_type, place"
)
HOLDERS_MAX = 100
"""Of each quota, the largest first."""


class Use:
    """What is held of a quota, in replicas. by_others: without the endpoint asked for."""

    def __init__(self, used: int, by_others: int) -> None:
        self.used = used
        self.by_others = by_others


async def get(project: str, instance_type: str) -> Quota:
    """The quota with its use; NotFound."""
    row = await specs.find(QuotaRow, {"project": project, "instance_type": instance_type})
    if row is None:
        raise _missing(project, instance_type)
    return await _quota(row)


async def put(
    project: str, instance_type: str, spec: QuotaSpec, caller: Caller, precondition: Precondition, now: datetime
) -> Written[Quota]:
    """Create or replace the quota; whoever may wait for room in it is looked at anew.

    NotFound without the project; InvalidSpec without the instance type; Forbidden beyond what the caller may set; QuotaExceeded below
    what is held; Stale.
    """
    key = {"project": project, "instance_type": instance_type}
    async with database.transaction():
        await projects.hold(project)
        row = await specs.lock(QuotaRow, key)
        precondition.check(specs.generation(row))
        if row is not None and database.decode(QuotaSpec, row["spec"]) == spec:
            return Written(resource=await _quota(row))
        await _check_allowed(instance_type, spec.max_replicas, row["max_replicas"] if row else 0, caller)
        await _check_room(project, instance_type, spec.max_replicas)
        new = await (
            specs.insert(QuotaRow, key, spec, now, max_replicas=spec.max_replicas)
            if row is None
            else specs.replace(QuotaRow, row, key, spec, max_replicas=spec.max_replicas)
        )
        await changes.endpoints(
            await database.rows("SELECT uid FROM endpoint WHERE project = {} AND instance_type = {} AND alive", project, instance_type)
        )
        return Written(resource=await _quota(new), created=row is None, changed=True)


async def delete(project: str, instance_type: str, precondition: Precondition) -> None:
    """Delete the quota; NotFound, Stale, or InUse with the endpoints that hold part of it."""
    key = {"project": project, "instance_type": instance_type}
    async with database.transaction():
        row = await specs.lock(QuotaRow, key)
        if row is None:
            raise _missing(project, instance_type)
        precondition.check(row["generation"])
        found = await holders(project, instance_type)
        if found:
            names = tuple(f"endpoint/{holder.endpoint}" for holder in found)
            raise InUse(f"the quota of {instance_type!r} is held by {', '.join(names[:5])}", references=names)
        await specs.delete(QuotaRow, key)


async def page(project: str, limit: int, cursor: str | None) -> Page[Quota]:
    """The project's quotas by instance type; NotFound without the project."""
    (last,) = key_of(cursor, 1)
    count = size(limit)
    found = await specs.after(QuotaRow, {"project": project}, "instance_type", last, count + 1)
    if not found:
        await projects.require(project)
    items = await _quotas(found[:count])
    return Page(items=items, next_cursor=cursor_of(items[-1].metadata.name) if len(found) > count else None)


async def lock(project: str, instance_type: str) -> int:
    """max_replicas, with the quota's row locked until the transaction ends; 0 when there is no quota."""
    found = await database.rows(
        "SELECT max_replicas FROM quota WHERE project = {} AND instance_type = {} FOR UPDATE", project, instance_type
    )
    return int(found[0]["max_replicas"]) if found else 0


async def use(project: str, instance_type: str, but: UUID) -> Use:
    """What is held of the quota, and what of it by others than the endpoint but."""
    (row,) = await database.rows(_USE, *(project, [instance_type]) * 2, but)
    return Use(used=row["used"], by_others=row["by_others"])


async def holders(project: str, instance_type: str) -> tuple[QuotaHolder, ...]:
    """Who holds part of the quota: the largest first, at most a hundred."""
    found = await database.rows(_HOLDERS, *(project, [instance_type]) * 2, HOLDERS_MAX)
    return tuple(QuotaHolder(endpoint=row["name"], replicas=row["replicas"]) for row in found)


async def book(project: str, instance_type: str, endpoint_uid: UUID, floor: int) -> None:
    """Make sure that the endpoint may hold floor replicas, and keep the room until the transaction ends; QuotaExceeded.

    It never takes away: a floor that the endpoint holds already is always granted.
    """
    limit = await lock(project, instance_type)
    held = await use(project, instance_type, endpoint_uid)
    if floor <= held.used - held.by_others or held.by_others + floor <= limit:
        return
    free = max(0, limit - held.by_others)
    raise QuotaExceeded(
        f"the quota of {instance_type!r} in project {project!r} is {limit}: {free} free for this endpoint, which needs {floor}",
        free=free,
        holders=await holders(project, instance_type),
    )


async def _check_allowed(instance_type: str, wanted: int, current: int, caller: Caller) -> None:
    row = await specs.find(InstanceTypeRow, {"name": instance_type})
    if row is None:
        raise InvalidSpec((FieldError("/instance_type", f"no instance type {instance_type!r}", "not_found"),))
    if caller.is_region_admin:
        return
    self_service = database.decode(InstanceTypeSpec, row["spec"]).self_service_max or 0
    if wanted > max(self_service, current):
        raise Forbidden(
            f"a project's administrators may set up to {self_service} replicas of {instance_type!r}; ask a region administrator"
        )


async def _check_room(project: str, instance_type: str, wanted: int) -> None:
    used = (await use(project, instance_type, UUID(int=0))).used
    if wanted < used:
        raise QuotaExceeded(
            f"{used} replicas of {instance_type!r} are held, so the quota cannot be {wanted}",
            free=0,
            holders=await holders(project, instance_type),
        )


def _missing(project: str, instance_type: str) -> NotFound:
    return NotFound(f"no quota of {instance_type!r} in project {project!r}")


async def _quota(row: specs.Row) -> Quota:
    return (await _quotas([row]))[0]


async def _quotas(found: list[specs.Row]) -> tuple[Quota, ...]:
    """The quotas of rows, which are of one project, with their use."""
    if not found:
        return ()
    held: dict[str, list[specs.Row]] = {row["instance_type"]: [] for row in found}
    for holder in await database.rows(_HOLDERS, *(found[0]["project"], list(held)) * 2, HOLDERS_MAX):
        held[holder["instance_type"]].append(holder)
    return tuple(_with_use(row, held[row["instance_type"]]) for row in found)


def _with_use(row: specs.Row, held: list[specs.Row]) -> Quota:
    used = held[0]["used"] if held else 0
    return Quota(
        metadata=specs.metadata(row, row["instance_type"], row["project"]),
        spec=database.decode(QuotaSpec, row["spec"]),
        status=QuotaStatus(
            used=used,
            free=max(0, row["max_replicas"] - used),
            holders=tuple(QuotaHolder(endpoint=holder["name"], replicas=holder["replicas"]) for holder in held),
        ),
    )
