"""Every refusal as RFC 9457 `application/problem+json`.

What is not of our error tree is a bug: logged with its chain, told as 500 without detail.
"""

from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from fleetform.domain.project import QuotaHolder
from fleetform.errors import DatabaseAway, InvalidSpec, RequestError, TemporaryError
from fleetform.routes.bodies import Problem, ProblemField

TYPE = "urn:fleetform:problems/"
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
TITLES = {
    "malformed": "The request could not be understood",
    "invalid-spec": "One or more fields are wrong",
    "unauthenticated": "The API key is missing or cannot be believed",
    "forbidden": "A role is missing",
    "not-found": "Not found",
    "method-not-allowed": "The method is not allowed here",
    "in-use": "Something still refers to it",
    "quota-exceeded": "The quota has no room",
    "immutable": "An immutable field differs",
    "protected": "Deletion protection is on",
    "stale": "A precondition did not hold",
    "too-large": "The body is too large",
    "unsupported-media-type": "The body is of another kind than JSON",
    "unavailable": "Something the server needs is away",
    "internal": "Internal error",
}
_OF_STATUS = {
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
}

log = structlog.get_logger(__name__)
AnyRequest = Request[Any, Any, Any]


def of_request_error(request: AnyRequest, error: RequestError) -> Response[Problem]:
    """The caller's fault, with all that helps to mend it."""
    errors: tuple[ProblemField, ...] = ()
    if isinstance(error, InvalidSpec):
        errors = tuple(ProblemField(pointer=e.pointer, detail=e.detail, code=e.code) for e in error.errors)
    holders: tuple[QuotaHolder, ...] = error.details.get("holders", ())
    problem = _problem(request, error.problem, error.status, error.message)
    problem = msgspec.structs.replace(
        problem,
        errors=errors,
        references=tuple(error.details.get("references", ())),
        free=error.details.get("free"),
        holders=holders,
        fields=tuple(error.details.get("fields", ())),
    )
    return _response(problem, {"WWW-Authenticate": "Bearer"} if error.status == 401 else {})


def of_temporary_error(request: AnyRequest, error: TemporaryError) -> Response[Problem]:
    """The database or a host is away: try again."""
    log.warning("unavailable", reason=error.reason, message=error.message, request_id=request_id(request))
    words = "the database is away" if isinstance(error, DatabaseAway) else error.message
    return _response(_problem(request, "unavailable", 503, f"{words}; try again"), {"Retry-After": str(RETRY_AFTER_S)})


def of_http_exception(request: AnyRequest, error: HTTPException) -> Response[Problem]:
    """What Litestar itself refuses: unknown paths and methods, large bodies, wrong query parameters."""
    if isinstance(error, ValidationException):
        found = error.extra if isinstance(error.extra, list) else []
        fields = tuple(ProblemField(pointer=f"/{e.get('key', '')}", detail=e.get("message", ""), code="invalid_value") for e in found)
        problem = _problem(request, "invalid-spec", 422, "; ".join(f"{f.pointer}: {f.detail}" for f in fields) or "a parameter is wrong")
        return _response(msgspec.structs.replace(problem, errors=fields), {})
    if error.status_code >= 500:
        return of_bug(request, error)
    name = _OF_STATUS.get(error.status_code, "malformed")
    return _response(_problem(request, name, error.status_code, error.detail or TITLES[name]), dict(error.headers or {}))


def of_bug(request: AnyRequest, error: Exception) -> Response[Problem]:
    """Logged with its chain; the answer says nothing of it but where to look."""
    log.error("unhandled_error", request_id=request_id(request), path=request.url.path, method=request.method, exc_info=error)
    return _response(_problem(request, "internal", 500, "the server failed; its log has the request's id"), {})


def request_id(request: AnyRequest) -> str:
    return str(request.scope["state"].get("request_id", ""))


def _problem(request: AnyRequest, name: str, status: int, detail: str) -> Problem:
    return Problem(type=TYPE + name, title=TITLES[name], status=status, detail=detail, instance=request_id(request))


def _response(problem: Problem, headers: dict[str, str]) -> Response[Problem]:
    return Response(problem, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)
