"""What one pass over one object came to; the loop acts on it by `match`, so that no kind can be forgotten."""

from fleetform.domain.base import Record


class Done(Record, frozen=True, kw_only=True, tag="done"):
    """Nothing is left to do until something happens."""


class InProgress(Record, frozen=True, kw_only=True, tag="in_progress"):
    """Look again after so many seconds; 0: at once."""

    after_s: float


class TemporaryFailure(Record, frozen=True, kw_only=True, tag="temporary_failure"):
    """Something did not answer, or a bug was met: try again after a pause that grows."""

    reason: str
    message: str


class Stalled(Record, frozen=True, kw_only=True, tag="stalled"):
    """Trying again changes nothing until the spec or the hosts do, and then the loop is woken."""

    reason: str
    message: str


Outcome = Done | InProgress | TemporaryFailure | Stalled
