"""An event: one line about one resource that a person may want to read."""

from datetime import datetime

from fleetform.domain.base import Record


class Event(Record, frozen=True, kw_only=True):
    """kind: `Normal` or `Warning`. reason: CamelCase, stable. seq grows over the region."""

    seq: int
    at: datetime
    kind: str
    reason: str
    message: str
    generation: int
    replica_id: str | None = None


class NewEvent(Record, frozen=True, kw_only=True):
    """An event before it is listed: the store gives it its number and its time. kind: `Normal` or `Warning`."""

    kind: str
    reason: str
    message: str
    replica_id: str | None = None
