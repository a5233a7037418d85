"""Credentials: minted from a token, revoked, and turned back into a caller. The secret is never stored."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from fleetform.credentials import ALL_ENDPOINTS, Claims, SigningKey, new_id
from fleetform.domain.access import Caller, Role, roles_held
from fleetform.domain.base import Record
from fleetform.domain.names import ALL_PROJECTS
from fleetform.domain.project import TOKEN_TTL_DAYS_DEFAULT, Credential, CredentialInfo, CredentialRequest, TokenSpec
from fleetform.errors import FieldError, Forbidden, InvalidSpec, NotFound, Unauthenticated
from fleetform.store import changes, database, specs
from fleetform.store.tables import CredentialRow, TokenRow

DAY_S = 86_400
_CALLER = (
    "SELECT c.expires_at, c.revoked_at, t.project, t.name, t.spec,"
    " (SELECT jsonb_object_agg(b.project, b.spec -> 'roles') FROM role_binding b"
    "  WHERE b.principal = 'token:' || t.project || ':' || t.name) AS bound"
    " FROM credential c LEFT JOIN token t ON t.uid = c.token_uid WHERE c.jti = {}"
)


class Scope(Record, frozen=True, kw_only=True):
    """What a credential lets its holder do at the gateway. roles: includes expanded, sorted. endpoints: names, or `*`."""

    roles: tuple[Role, ...]
    endpoints: tuple[str, ...]

    def is_within(self, other: "Scope") -> bool:
        """True when other allows all that this one does."""
        endpoints = ALL_ENDPOINTS in other.endpoints or set(self.endpoints) <= set(other.endpoints)
        return endpoints and set(self.roles) <= set(other.roles)


def principal_of(project: str, name: str) -> str:
    """The principal that a token is."""
    return f"token:{project}:{name}"


async def caller(jti: str, now: datetime) -> Caller:
    """Who holds the credential, by the rows as they are now; Unauthenticated when it is unknown, revoked or over."""
    found = await database.rows(_CALLER, jti)
    if not found or found[0]["project"] is None:
        raise Unauthenticated(f"the API key {jti} is not known; its token may have been deleted")
    row = found[0]
    if row["revoked_at"] is not None:
        raise Unauthenticated(f"the API key {jti} has been revoked; mint a new one for its token")
    if row["expires_at"] <= now:
        raise Unauthenticated(f"the API key {jti} has expired; mint a new one for its token")
    spec = database.decode(TokenSpec, row["spec"])
    return Caller(principal=principal_of(row["project"], row["name"]), jti=jti, roles=_roles(row["project"], spec, row["bound"]))


async def mint(
    project: str, name: str, request: CredentialRequest, by: Caller | None, key: SigningKey, region: str, now: datetime
) -> Credential:
    """A new credential of the token; the others stay.

    by: who asks; None: this machine's own administrator. NotFound; Forbidden when the token can do what by cannot; InvalidSpec for a life
    longer than the token's ttl_days.
    """
    async with database.transaction():
        row = await specs.lock(TokenRow, {"project": project, "name": name})
        if row is None:
            raise NotFound(f"no token {name!r} in project {project!r}")
        spec = database.decode(TokenSpec, row["spec"])
        principal = principal_of(project, name)
        roles = _roles(project, spec, (await _bound([principal])).get(principal))
        if by is not None:
            _check_holds(by, roles)
        begins = now.replace(microsecond=0)
        expires = begins + timedelta(seconds=_ttl_s(request, spec))
        scope = _scope(spec, roles, project)
        jti = new_id()
        await CredentialRow.delete().where(CredentialRow.token_uid == row["uid"]).where(CredentialRow.expires_at <= now)
        await CredentialRow.insert(
            CredentialRow(
                jti=jti, token_uid=row["uid"], project=project, scope=database.encode(scope), created_at=begins, expires_at=expires
            )
        )
        await specs.update(TokenRow, {"uid": row["uid"]}, revision=row["revision"] + 1)
    claims = Claims(
        iss=region,
        sub=principal,
        jti=jti,
        project=project,
        roles=scope.roles,
        endpoints=scope.endpoints,
        iat=int(begins.timestamp()),
        exp=int(expires.timestamp()),
    )
    return Credential(id=jti, secret=key.mint(claims), expires_at=expires)


async def revoke(project: str, name: str, jti: str, now: datetime) -> None:
    """Revoke one live credential of the token; NotFound."""
    async with database.transaction():
        row = await specs.lock(TokenRow, {"project": project, "name": name})
        gone = row is None or not await database.rows(
            "UPDATE credential SET revoked_at = {} WHERE jti = {} AND token_uid = {} AND revoked_at IS NULL AND expires_at > {}"
            " RETURNING jti",
            now,
            jti,
            row["uid"],
            now,
        )
        if gone or row is None:
            raise NotFound(f"no live credential {jti!r} of token {name!r} in project {project!r}")
        await specs.update(TokenRow, {"uid": row["uid"]}, revision=row["revision"] + 1)
        await changes.access()


async def revoke_all(token_uid: UUID, now: datetime) -> None:
    """Revoke every live credential of a token, inside the caller's transaction."""
    await database.rows("UPDATE credential SET revoked_at = {} WHERE token_uid = {} AND revoked_at IS NULL", now, token_uid)
    await changes.access()


async def live(token_uids: list[UUID], now: datetime) -> dict[UUID, list[tuple[CredentialInfo, Scope]]]:
    """The live credentials of each token, oldest first, with what they were minted with."""
    found = await database.rows(
        "SELECT token_uid, jti, scope, created_at, expires_at FROM credential"
        " WHERE token_uid = ANY({}::uuid[]) AND revoked_at IS NULL AND expires_at > {} ORDER BY created_at, jti",
        token_uids,
        now,
    )
    by_token: dict[UUID, list[tuple[CredentialInfo, Scope]]] = {uid: [] for uid in token_uids}
    for row in found:
        info = CredentialInfo(id=row["jti"], created_at=row["created_at"], expires_at=row["expires_at"])
        by_token[row["token_uid"]].append((info, database.decode(Scope, row["scope"])))
    return by_token


async def scopes_of(project: str, specs_by_name: Mapping[str, TokenSpec]) -> dict[str, Scope]:
    """What a credential of each token, minted now, would be allowed; by name, in one statement."""
    bound = await _bound([principal_of(project, name) for name in specs_by_name])
    roles = {name: _roles(project, spec, bound.get(principal_of(project, name))) for name, spec in specs_by_name.items()}
    return {name: _scope(spec, roles[name], project) for name, spec in specs_by_name.items()}


async def settle_principal(principal: str, now: datetime) -> None:
    """After a change of principal's bindings, inside the same transaction: revoke what is now too wide."""
    kind, _, rest = principal.partition(":")
    project, _, name = rest.partition(":")
    row = await specs.lock(TokenRow, {"project": project, "name": name}) if kind == "token" else None
    if row is not None:
        await settle(row, now)


async def settle(token: specs.Row, now: datetime) -> None:
    """Revoke the live credentials of token that allow more than the token does now; its row is locked."""
    project, name = token["project"], token["name"]
    scope = (await scopes_of(project, {name: database.decode(TokenSpec, token["spec"])}))[name]
    if all(old.is_within(scope) for _, old in (await live([token["uid"]], now))[token["uid"]]):
        return
    await revoke_all(token["uid"], now)
    await specs.update(TokenRow, {"uid": token["uid"]}, revision=token["revision"] + 1)


def _ttl_s(request: CredentialRequest, spec: TokenSpec) -> int:
    longest = (spec.ttl_days or TOKEN_TTL_DAYS_DEFAULT) * DAY_S
    wanted = request.ttl_s or longest
    if wanted > longest:
        raise InvalidSpec((FieldError("/ttl_s", f"{wanted} s is longer than the token's ttl_days allow ({longest} s)", "bounds"),))
    return wanted


def _check_holds(by: Caller, roles: dict[str, frozenset[Role]]) -> None:
    for where, wanted in sorted(roles.items()):
        missing = sorted(wanted - by.roles_in(where))
        if missing:
            raise Forbidden(f"the token holds {', '.join(missing)} in project {where!r}, which you do not, so you cannot mint its key")


def _scope(spec: TokenSpec, roles: dict[str, frozenset[Role]], project: str) -> Scope:
    held = roles.get(project, frozenset()) | roles.get(ALL_PROJECTS, frozenset())
    return Scope(roles=tuple(sorted(held)), endpoints=tuple(sorted(spec.endpoints)) if spec.endpoints else (ALL_ENDPOINTS,))


async def _bound(principals: list[str]) -> dict[str, str]:
    """Principal → project → roles, as JSON text, of those that are bound anywhere."""
    found = await database.rows(
        "SELECT principal, jsonb_object_agg(project, spec -> 'roles') AS bound FROM role_binding"
        " WHERE principal = ANY({}::text[]) GROUP BY principal",
        principals,
    )
    return {row["principal"]: row["bound"] for row in found}


def _roles(project: str, spec: TokenSpec, bound: str | None) -> dict[str, frozenset[Role]]:
    roles = {project: roles_held(frozenset(spec.roles))}
    for where, names in database.decode(dict[str, tuple[Role, ...]], bound or "{}").items():
        roles[where] = roles.get(where, frozenset()) | roles_held(frozenset(names))
    return roles
