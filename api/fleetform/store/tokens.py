"""Tokens: identities for programs. Their credentials are in credentials.py."""

from datetime import datetime

from fleetform.domain.access import Caller
from fleetform.domain.conditions import Condition, ConditionType, Reason
from fleetform.domain.project import Token, TokenSpec, TokenStatus
from fleetform.errors import NotFound
from fleetform.store import bindings, credentials, database, projects, specs
from fleetform.store.tables import RoleBindingRow, TokenRow
from fleetform.store.writing import Page, Precondition, Written, cursor_of, key_of, size


async def get(project: str, name: str, now: datetime) -> Token:
    """The token with its live credentials; NotFound."""
    row = await specs.find(TokenRow, {"project": project, "name": name})
    if row is None:
        raise _missing(project, name)
    return (await _tokens([row], now))[0]


async def put(project: str, name: str, spec: TokenSpec, by: Caller | None, precondition: Precondition, now: datetime) -> Written[Token]:
    """Create or replace the token; one that is narrowed loses its live credentials.

    by: who asks; None: this machine's own administrator. NotFound without the project; Forbidden for a role that by does not hold; Stale.
    """
    if by is not None:
        bindings.check_grant(by, project, spec.roles)
    key = {"project": project, "name": name}
    async with database.transaction():
        await projects.hold(project)
        row = await specs.lock(TokenRow, key)
        precondition.check(specs.generation(row))
        if row is None:
            new = await specs.insert(TokenRow, key, spec, now, revision=1)
            return Written(resource=(await _tokens([new], now))[0], created=True, changed=True)
        if database.decode(TokenSpec, row["spec"]) == spec:
            return Written(resource=(await _tokens([row], now))[0])
        new = await specs.replace(TokenRow, row, key, spec, revision=row["revision"] + 1)
        await credentials.settle(new, now)
        return Written(resource=(await _tokens([new], now))[0], changed=True)


async def delete(project: str, name: str, precondition: Precondition, now: datetime) -> None:
    """Delete the token, revoke its credentials and drop its role bindings, wherever they are; NotFound, Stale."""
    key = {"project": project, "name": name}
    async with database.transaction():
        row = await specs.lock(TokenRow, key)
        if row is None:
            raise _missing(project, name)
        precondition.check(row["generation"])
        await credentials.revoke_all(row["uid"], now)
        await RoleBindingRow.delete().where(RoleBindingRow.principal == credentials.principal_of(project, name))
        await specs.delete(TokenRow, key)


async def page(project: str, limit: int, cursor: str | None, now: datetime) -> Page[Token]:
    """The project's tokens by name; NotFound without the project."""
    (last,) = key_of(cursor, 1)
    count = size(limit)
    found = await specs.after(TokenRow, {"project": project}, "name", last, count + 1)
    if not found:
        await projects.require(project)
    items = await _tokens(found[:count], now)
    return Page(items=items, next_cursor=cursor_of(items[-1].metadata.name) if len(found) > count else None)


def _missing(project: str, name: str) -> NotFound:
    return NotFound(f"no token {name!r} in project {project!r}")


async def _tokens(rows: list[specs.Row], now: datetime) -> tuple[Token, ...]:
    """The tokens of rows, which are of one project."""
    if not rows:
        return ()
    live = await credentials.live([row["uid"] for row in rows], now)
    found = {row["name"]: database.decode(TokenSpec, row["spec"]) for row in rows}
    scopes = await credentials.scopes_of(rows[0]["project"], found)
    made = []
    for row in rows:
        spec = found[row["name"]]
        stale = [info.id for info, old in live[row["uid"]] if old != scopes[row["name"]]]
        current = Condition(
            type=ConditionType.CREDENTIALS_CURRENT,
            status=not stale,
            reason=Reason.WIDENED if stale else Reason.CURRENT,
            message=f"minted before the token was widened: {', '.join(stale[:5])}" if stale else "",
            changed_at=row["created_at"],
        )
        infos = tuple(info for info, _ in live[row["uid"]])
        status = TokenStatus(revision=row["revision"], conditions=(current,), credentials=infos)
        made.append(Token(metadata=specs.metadata(row, row["name"], row["project"]), spec=spec, status=status))
    return tuple(made)
