"""Who may call what: each route names what it needs, and a route that names nothing can be called by nobody."""

from collections.abc import Mapping
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from fleetform.domain.access import Caller, Role
from fleetform.domain.names import ALL_PROJECTS, is_principal, name_error
from fleetform.errors import FieldError, Forbidden, InvalidSpec, NotFound

PUBLIC: Final = "public"
"""No token at all."""
ANYONE: Final = "anyone"
"""Whoever has a valid token."""
MEMBER: Final = "member"
"""Any role in the project of the path."""
REGION_ADMIN: Final = "region-admin"
"""`inference.admin` bound on the project `*`."""

Need = Role | str
NAMES: Final = ("project", "name", "model", "version", "instance_type")
"""Path parameters that the rule for names holds for."""
IDS: Final = ("replica_id", "credential_id")
"""Those that the server chooses."""


def route(
    need: Need, *, answers: Mapping[int, type | None], body: type | None = None, etag: bool = False, everywhere: bool = False
) -> dict[str, Any]:
    """The `opt` of a handler. answers: status → what is sent. body: what is read. etag: the resource has one, which may be demanded.

    everywhere: the project may be `*`.
    """
    return {"need": need, "answers": dict(answers), "body": body, "etag": etag, "everywhere": everywhere}


def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Refuse the call unless the caller has what the route needs.

    A bad name in the path is told first (InvalidSpec); a project without any role of the caller's is NotFound, whether it exists or
    not; a role that is missing is Forbidden and named.
    """
    need = handler.opt.get("need")
    if need == PUBLIC:
        return
    check_path(connection.path_params, everywhere=bool(handler.opt.get("everywhere")))
    caller: Caller = connection.auth
    project = connection.path_params.get("project")
    if need is None:
        raise Forbidden("this route declares no role, so nobody may call it")
    if need == ANYONE:
        return
    if need == REGION_ADMIN:
        _check_region_admin(caller, project)
        return
    if project is None:
        raise Forbidden("this route names no project, so a role in one cannot be held")
    _check_role(caller, project, need)


def check_path(parameters: Mapping[str, Any], *, everywhere: bool) -> None:
    """InvalidSpec with every parameter that is no name where it must be one, or can be no id. everywhere: `*` is a project here."""
    errors = []
    for parameter, value in parameters.items():
        if parameter == "project" and value == ALL_PROJECTS and everywhere:
            continue
        if parameter == "principal" and not is_principal(value):
            errors.append(FieldError("/principal", "must be 'user:<name>' or 'token:<project>:<name>'", "invalid_name"))
        bad = name_error(f"/{parameter}", value.replace("%2F", "/")) if parameter in NAMES else None
        if bad is not None:
            errors.append(bad)
        if parameter in IDS and "\0" in value:  # which no column can be compared with
            errors.append(FieldError(f"/{parameter}", "must not contain the character U+0000", "invalid_value"))
    if errors:
        raise InvalidSpec(tuple(errors))


def _check_region_admin(caller: Caller, project: str | None) -> None:
    if caller.is_region_admin:
        return
    if project is not None and not caller.roles_in(project):
        raise NotFound(f"no project {project!r}")
    raise Forbidden(f"needs a region administrator: {Role.ADMIN} bound on the project '*'")


def _check_role(caller: Caller, project: str, need: Need) -> None:
    held = caller.roles_in(project)
    if not held:
        raise NotFound(f"no project {project!r}")
    if need == MEMBER or need in held:
        return
    raise Forbidden(f"needs the role {need} in project {project!r}")
