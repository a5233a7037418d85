"""Endpoints: PUT and DELETE by the client. Status, rollout and what runs are the reconciler's (fleet.py)."""

from datetime import datetime
from uuid import UUID, uuid4

import msgspec

from fleetform.domain.conditions import ConditionType, Reason, condition
from fleetform.domain.effective import EffectiveEndpoint, effective
from fleetform.domain.endpoint import Endpoint, EndpointStatus
from fleetform.domain.endpoint_spec import EndpointSpec
from fleetform.domain.rollout import RolloutState
from fleetform.errors import InUse, NotFound, Protected
from fleetform.steps import Step
from fleetform.store import changes, database, events, projects, quotas, references, rollouts, specs
from fleetform.store.tables import EndpointRow
from fleetform.store.writing import Page, Precondition, Written, cursor_of, key_of, size


async def get(project: str, name: str) -> Endpoint:
    """The endpoint; NotFound once it is torn down."""
    return of_row(await _row(project, name))


async def uid_of(project: str, name: str) -> UUID:
    """Its uid; NotFound."""
    uid: UUID = (await _row(project, name))["uid"]
    return uid


async def put(project: str, name: str, spec: EndpointSpec, precondition: Precondition, now: datetime) -> Written[Endpoint]:
    """Create or replace the endpoint and book its floor; the same spec changes nothing.

    NotFound without the project; Stale; InUse while it is torn down; InvalidSpec for what does not exist or does not fit; QuotaExceeded.
    """
    async with database.transaction(Step.PUT_WRITTEN, Step.PUT_COMMITTED):
        row = await _lock(project, name)
        precondition.check(specs.generation(row))
        if row is not None and row["deleting_at"] is not None:
            raise InUse(f"endpoint {name!r} is being torn down; try again when it is gone", references=(f"endpoint/{name}",))
        if row is not None and database.decode(EndpointSpec, row["spec"]) == spec:
            return Written(resource=of_row(row))
        if row is None:
            await projects.hold(project)
        versions = await references.hold(project, spec)
        applied, uid = effective(spec), uuid4() if row is None else row["uid"]
        if row is None or row["instance_type"] != applied.instance_type or row["booked"] < applied.min_replicas:
            await quotas.book(project, applied.instance_type, uid, applied.min_replicas)
        born = {"uid": uid, "project": project, "name": name, "created_at": now}
        new = await (_insert(born, spec, applied) if row is None else _replace(row, spec, applied))
        if row is None or _named(database.decode(EndpointSpec, row["spec"])) != _named(spec):
            await _hold_versions(new, versions)
        verb = "Created" if row is None else "Updated"
        await events.append(new["uid"], project, now, verb, f"generation {new['generation']} was declared", generation=new["generation"])
        await changes.endpoint(new["uid"])
        return Written(resource=of_row(new), created=row is None, changed=True)


async def delete(project: str, name: str, precondition: Precondition, now: datetime) -> Endpoint:
    """Begin to tear the endpoint down: its booking ends now, what runs is drained. Again: nothing. NotFound, Stale, Protected."""
    async with database.transaction(Step.DELETE_WRITTEN, Step.DELETE_COMMITTED):
        row = await _lock(project, name)
        if row is None:
            raise _missing(project, name)
        precondition.check(row["generation"])
        if row["deleting_at"] is not None:
            return of_row(row)
        if database.decode(EndpointSpec, row["spec"]).deletion_protection is True:
            raise Protected(f"endpoint {name!r} is protected: set deletion_protection to false first")
        columns = {"deleting_at": now, "booked": 0, "revision": row["revision"] + 1}
        await specs.update(EndpointRow, {"uid": row["uid"]}, **columns)
        await events.append(row["uid"], project, now, "Deleting", f"endpoint {name!r} is torn down", generation=row["generation"])
        await changes.endpoint(row["uid"])
        return of_row({**row, **columns})


async def bury(uid: UUID, now: datetime) -> None:
    """Leave a tombstone: nothing of the endpoint runs any more. Inside the reconciler's transaction."""
    found = await database.rows(
        "UPDATE endpoint SET alive = false, deleted_at = {}, revision = revision + 1 WHERE uid = {} AND alive"
        " RETURNING project, name, generation",
        now,
        uid,
    )
    for row in found:
        await database.rows("DELETE FROM endpoint_version WHERE endpoint_uid = {}", uid)
        await rollouts.forget(uid)
        await events.append(uid, row["project"], now, "Deleted", f"endpoint {row['name']!r} is gone", generation=row["generation"])
        await changes.status(uid)


async def page(project: str, limit: int, cursor: str | None) -> Page[Endpoint]:
    """The project's endpoints by name; NotFound without the project."""
    (last,) = key_of(cursor, 1)
    count = size(limit)
    found = await database.rows(
        "SELECT * FROM endpoint WHERE project = {} AND alive AND name > {} ORDER BY name LIMIT {}", project, last, count + 1
    )
    if not found:
        await projects.require(project)
    items = tuple(of_row(row) for row in found[:count])
    return Page(items=items, next_cursor=cursor_of(items[-1].metadata.name) if len(found) > count else None)


def is_settled(endpoint: Endpoint, generation: int) -> bool:
    """True when generation, or a later one, is ready or cannot become so without a change."""
    status = endpoint.status
    if status.observed_generation < generation:
        return False
    progressing = condition(status.conditions, ConditionType.PROGRESSING)
    ready = condition(status.conditions, ConditionType.READY)
    stalled = progressing is not None and not progressing.status and progressing.reason is Reason.STALLED
    rolled_back = ready is not None and not ready.status and ready.reason is Reason.ROLLED_BACK
    return status.ready or stalled or rolled_back


def of_row(row: specs.Row) -> Endpoint:
    """The endpoint that a row holds. Its url is the region's, which the row does not know."""
    status = database.decode(EndpointStatus, row["status"])
    status = msgspec.structs.replace(
        status,
        revision=row["revision"],
        effective=database.decode(EffectiveEndpoint, row["effective"]),
        model=row["name"],
        # A status that was written for an earlier spec does not say that this one is ready.
        ready=status.ready and status.observed_generation >= row["generation"] and row["deleting_at"] is None,
        phase="Deleting" if row["deleting_at"] is not None else status.phase,
    )
    spec = database.decode(EndpointSpec, row["spec"])
    return Endpoint(metadata=specs.metadata(row, row["name"], row["project"]), spec=spec, status=status)


async def _row(project: str, name: str) -> specs.Row:
    found = await database.rows("SELECT * FROM endpoint WHERE project = {} AND name = {} AND alive", project, name)
    if not found:
        raise _missing(project, name)
    return found[0]


async def _lock(project: str, name: str) -> specs.Row | None:
    """The living row, locked; None: there is none, and nobody else makes it until the transaction ends."""
    sql = "SELECT * FROM endpoint WHERE project = {} AND name = {} AND alive FOR UPDATE"
    found = await database.rows(sql, project, name)
    if not found:
        await database.rows("SELECT pg_advisory_xact_lock(hashtextextended({}, 0))", f"endpoint/{project}/{name}")
        found = await database.rows(sql, project, name)
    return found[0] if found else None


async def _insert(born: specs.Row, spec: EndpointSpec, applied: EffectiveEndpoint) -> specs.Row:
    status = database.encode(EndpointStatus(model=born["name"]))
    absent = {"deleting_at": None, "deleted_at": None, "rollout": None}
    row: specs.Row = {**born, **absent, **_wish(spec, applied), "alive": True, "generation": 1, "revision": 1, "status": status}
    await EndpointRow.insert(EndpointRow(**row))
    return row


async def _replace(row: specs.Row, spec: EndpointSpec, applied: EffectiveEndpoint) -> specs.Row:
    columns = {**_wish(spec, applied), "generation": row["generation"] + 1, "revision": row["revision"] + 1}
    await specs.update(EndpointRow, {"uid": row["uid"]}, **columns)
    return {**row, **columns}


def _wish(spec: EndpointSpec, applied: EffectiveEndpoint) -> specs.Row:
    """The columns that a PUT writes."""
    return {
        "spec": database.encode(spec),
        "effective": database.encode(applied),
        "instance_type": applied.instance_type,
        "booked": applied.min_replicas,
    }


def _named(spec: EndpointSpec) -> set[str]:
    return {variant.model_version for variant in spec.variants.values()}


async def _hold_versions(row: specs.Row, versions: frozenset[UUID]) -> None:
    """Note which versions the spec names. Those it no longer names stay held while a track of theirs is still known."""
    known = {track.model_version for track in database.decode(RolloutState, row["rollout"]).tracks.values()} if row["rollout"] else set()
    await database.rows(
        "UPDATE endpoint_version SET held_by = 'bake' WHERE endpoint_uid = {} AND version_uid <> ALL({}::uuid[])",
        row["uid"],
        list(versions),
    )
    await database.rows(
        "DELETE FROM endpoint_version ev USING model_version v WHERE ev.endpoint_uid = {} AND ev.held_by = 'bake'"
        " AND v.uid = ev.version_uid AND v.model || ':' || v.version <> ALL({}::text[])",
        row["uid"],
        sorted(known),
    )
    await database.rows(
        "INSERT INTO endpoint_version (endpoint_uid, version_uid, held_by) SELECT {}, unnest({}::uuid[]), 'spec'"
        " ON CONFLICT (endpoint_uid, version_uid) DO UPDATE SET held_by = 'spec'",
        row["uid"],
        list(versions),
    )


def _missing(project: str, name: str) -> NotFound:
    return NotFound(f"no endpoint {name!r} in project {project!r}")
