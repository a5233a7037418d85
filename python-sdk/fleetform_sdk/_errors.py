"""Everything this package raises.

FleetformError
├── ConfigurationError      no address, token or project: nothing was sent
├── InvalidRequest          what was passed cannot be sent: nothing was
├── APIConnectionError      no answer
│   └── APITimeoutError     no answer in time
├── APIStatusError          an answer that refuses; its problem details are attributes
│   ├── BadRequestError 400, AuthenticationError 401, PermissionDeniedError 403, NotFoundError 404, ConflictError 409,
│   │   PreconditionFailedError 412, UnprocessableError 422, RateLimitError 429
│   └── InternalServerError 5xx
├── InvalidResponseError    an answer that could not be understood
├── RolloutFailed           the endpoint will not become ready; carries the conditions and the evidence
├── VerificationFailed      the artifact of a model version was refused
└── WaitTimeout             it may still happen: the time to wait was over
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fleetform_sdk._generated import models


class FleetformError(Exception):
    """Root of the tree."""


class ConfigurationError(FleetformError):
    """Something the client needs was neither passed nor set in the environment; the message names the variable."""


class InvalidRequest(FleetformError, ValueError):
    """What was passed cannot be sent: an empty name, or text that is not Unicode."""


class APIConnectionError(FleetformError):
    """The control API could not be reached, or the connection broke before the answer."""


class APITimeoutError(APIConnectionError):
    """The control API did not answer within the client's timeout."""


class InvalidResponseError(FleetformError):
    """The answer is not what the contract says: another server, or a proxy, at that address."""


class FieldProblem:
    """One wrong field of a request: JSON pointer into the body, a sentence, and a stable code."""

    __slots__ = ("code", "detail", "pointer")

    def __init__(self, pointer: str, detail: str, code: str = "") -> None:
        self.pointer = pointer
        self.detail = detail
        self.code = code

    def __repr__(self) -> str:
        return f"FieldProblem({self.pointer!r}, {self.detail!r}, {self.code!r})"


class APIStatusError(FleetformError):
    """The API refused. `type`, `title`, `detail` and `errors` are those of the RFC 9457 problem, `extensions` its other members.

    kind: the last word of the problem's type, such as `quota-exceeded`; empty when the answer was not a problem. attempts: how
    often the call had been sent; earlier attempts had no answer, or one that said to try again.
    """

    attempts = 1

    def __init__(self, status_code: int, body: object, *, request_id: str | None = None, retry_after_s: float | None = None) -> None:
        problem: Mapping[str, Any] = body if isinstance(body, Mapping) else {}
        self.status_code = status_code
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.body = body
        self.type = str(problem.get("type", ""))
        self.kind = self.type.rstrip("/").rpartition("/")[2].rpartition(":")[2]
        self.title = str(problem.get("title", ""))
        self.detail = str(problem.get("detail", "")) or (body if isinstance(body, str) else "")
        self.errors = tuple(_field_problem(item) for item in problem.get("errors") or () if isinstance(item, Mapping))
        known = {"type", "title", "status", "detail", "errors", "instance"}
        self.extensions = {key: value for key, value in problem.items() if key not in known}
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        text = self.detail or self.title or "the server gave no reason"
        where = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.status_code}: {text}{where}"


def _field_problem(item: Mapping[str, Any]) -> FieldProblem:
    return FieldProblem(str(item.get("pointer", "")), str(item.get("detail", "")), str(item.get("code", "")))


class BadRequestError(APIStatusError):
    """400: the request could not be understood."""


class AuthenticationError(APIStatusError):
    """401: no token, or one that is not believed."""


class PermissionDeniedError(APIStatusError):
    """403: a role is missing; the detail names it."""


class NotFoundError(APIStatusError):
    """404: not there, or another project's."""


class ConflictError(APIStatusError):
    """409: in use, over quota, immutable or protected; `kind` says which."""


class PreconditionFailedError(APIStatusError):
    """412: somebody else changed it in between."""


class UnprocessableError(APIStatusError):
    """422: fields are wrong; `errors` names all of them."""


class RateLimitError(APIStatusError):
    """429: too many calls; `retry_after_s` says when to come back."""


class InternalServerError(APIStatusError):
    """5xx: the server's fault, or its database is away."""


_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    412: PreconditionFailedError,
    422: UnprocessableError,
    429: RateLimitError,
}


def status_error(status_code: int, body: object, *, request_id: str | None = None, retry_after_s: float | None = None) -> APIStatusError:
    """The error for an answer with that status; body is its decoded JSON, or its text when it is not JSON."""
    type_ = InternalServerError if status_code >= 500 else _BY_STATUS.get(status_code, APIStatusError)
    return type_(status_code, body, request_id=request_id, retry_after_s=retry_after_s)


class RolloutFailed(FleetformError):
    """The wanted state of an endpoint will not be reached; what served before, if anything did, still does.

    reason: of the condition that ended the wait, such as `RolledBack`. evidence: the server's sentences and log lines.
    """

    def __init__(self, endpoint: models.Endpoint, reason: str, message: str, evidence: Sequence[str] = ()) -> None:
        self.endpoint = endpoint
        self.reason = reason
        self.message = message
        self.conditions = tuple(endpoint.status.conditions or ())
        self.evidence = tuple(evidence)
        lines = "".join(f"\n  {line}" for line in self.evidence)
        super().__init__(f"endpoint {endpoint.metadata.name!r} did not become ready: {reason}: {message}{lines}")


class VerificationFailed(FleetformError):
    """The artifact of a model version was refused. reason: of its Verified condition, such as `DigestMismatch`."""

    def __init__(self, version: models.ModelVersion, reason: str, message: str) -> None:
        self.version = version
        self.reason = reason
        self.message = message
        self.conditions = tuple(version.status.conditions or ())
        super().__init__(f"model version {version.status.ref!r} was refused: {reason}: {message}")


class WaitTimeout(FleetformError):
    """The time to wait was over before the resource was as wanted. resource: as it was last seen, or None."""

    def __init__(self, message: str, resource: models.Endpoint | models.ModelVersion | None = None) -> None:
        self.resource = resource
        super().__init__(message)
