"""The error tree. Every error has a stable CamelCase reason, a sentence for people, and the ids involved.

AppError
├── RequestError    the caller's fault, 4xx: Malformed, UnsupportedMediaType, InvalidSpec, Unauthenticated, Forbidden, NotFound,
│                   Conflict (InUse, QuotaExceeded, Immutable, Protected), Stale
├── TemporaryError  the loop retries after a back-off: HostUnreachable, HostBusy, DatabaseAway, NotLeader, SourceAway, CacheFull
├── StalledError    the loop stops until spec or host changes: ArtifactRefused, ModelDoesNotFit, LaunchCrashed
└── SetupError      a person must act before the program can start; the message names the remedy

Waiting is not an error: it is `Blocked` in the plan. Anything outside this tree is a bug: logged with its chain, shown as
500 without detail.
"""

from typing import Any, ClassVar


class AppError(Exception):
    """Root of the tree. `details` holds the ids and figures involved; it never holds a secret or a prompt."""

    reason: ClassVar[str] = "AppError"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = details


class RequestError(AppError):
    """The caller's fault. `status` is the HTTP status, `problem` the end of the problem type."""

    reason = "RequestError"
    status: ClassVar[int] = 400
    problem: ClassVar[str] = "malformed"


class Malformed(RequestError):
    """The body is not JSON, or the request is not of a form that could be understood."""

    reason = "Malformed"


class UnsupportedMediaType(RequestError):
    """The body says to be something else than JSON."""

    reason = "UnsupportedMediaType"
    status = 415
    problem = "unsupported-media-type"


class FieldError:
    """One wrong field: JSON pointer from the body's root, a sentence, and a stable code."""

    __slots__ = ("code", "detail", "pointer")

    def __init__(self, pointer: str, detail: str, code: str = "invalid") -> None:
        self.pointer = pointer
        self.detail = detail
        self.code = code

    def __repr__(self) -> str:
        return f"FieldError({self.pointer!r}, {self.detail!r}, {self.code!r})"


class InvalidSpec(RequestError):
    """One or more fields are wrong; all of them are named at once."""

    reason = "InvalidSpec"
    status = 422
    problem = "invalid-spec"

    def __init__(self, errors: tuple[FieldError, ...], **details: Any) -> None:
        super().__init__("; ".join(f"{e.pointer}: {e.detail}" for e in errors), **details)
        self.errors = errors


class Unauthenticated(RequestError):
    """No token, or one that cannot be believed."""

    reason = "Unauthenticated"
    status = 401
    problem = "unauthenticated"


class Forbidden(RequestError):
    """The caller is known but lacks the role named in the message."""

    reason = "Forbidden"
    status = 403
    problem = "forbidden"


class NotFound(RequestError):
    """Not there, or another project's: the two are not told apart."""

    reason = "NotFound"
    status = 404
    problem = "not-found"


class InUse(RequestError):
    """References block a delete; `details["references"]` lists them."""

    reason = "InUse"
    status = 409
    problem = "in-use"


class QuotaExceeded(RequestError):
    """The quota has no room; `details` has `free` and `holders`."""

    reason = "QuotaExceeded"
    status = 409
    problem = "quota-exceeded"


class Immutable(RequestError):
    """An immutable field differs from what is registered; `details["fields"]` names them."""

    reason = "Immutable"
    status = 409
    problem = "immutable"


class Protected(RequestError):
    """Deletion protection is on."""

    reason = "Protected"
    status = 409
    problem = "protected"


class Stale(RequestError):
    """If-Match or If-None-Match did not hold."""

    reason = "Stale"
    status = 412
    problem = "stale"


class TemporaryError(AppError):
    """Try again after a back-off; nothing about the wish has to change."""

    reason = "TemporaryError"


class HostUnreachable(TemporaryError):
    """The host process did not answer. What runs there is unknown, not gone."""

    reason = "HostUnreachable"


class HostBusy(TemporaryError):
    """The host is doing something for this replica that must finish first."""

    reason = "HostBusy"


class DatabaseAway(TemporaryError):
    """PostgreSQL cannot be reached, or the outcome of a commit is not known."""

    reason = "DatabaseAway"


class NotLeader(TemporaryError):
    """Another server holds the lease, or a host has seen a higher epoch; whatever was read is stale."""

    reason = "NotLeader"


class SourceAway(TemporaryError):
    """Where the artifact lies does not answer, stalls, or changes while it is read."""

    reason = "SourceAway"


class CacheFull(TemporaryError):
    """No room for an artifact, not even after evicting what nobody uses; `details` has `needed_bytes` and `free_bytes`."""

    reason = "CacheFull"


class StalledError(AppError):
    """Trying again changes nothing until the spec or the host changes."""

    reason = "StalledError"


class ArtifactRefused(StalledError):
    """The artifact is missing, changed, corrupt, or of a kind that is not loaded; `details["condition_reason"]` says which."""

    reason = "ArtifactRefused"


class ModelDoesNotFit(StalledError):
    """No host of this instance type could ever hold the replica."""

    reason = "ModelDoesNotFit"


class LaunchCrashed(StalledError):
    """The engine ended during its start; `log_tail` is shortened and redacted, safe to show to the owner of the endpoint."""

    reason = "LaunchCrashed"

    def __init__(self, message: str, log_tail: tuple[str, ...] = (), **details: Any) -> None:
        super().__init__(message, **details)
        self.log_tail = log_tail


class SetupError(AppError):
    """The program cannot start as the machine is now; the message names the remedy."""

    reason = "SetupError"
