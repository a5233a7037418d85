"""Events: one row per change worth reading, written in the transaction of the change."""

from datetime import datetime
from uuid import UUID

from fleetform.domain.events import Event
from fleetform.errors import FieldError, InvalidSpec
from fleetform.store import specs
from fleetform.store.tables import EventRow
from fleetform.store.writing import Page, cursor_of, key_of, size

NORMAL = "Normal"
WARNING = "Warning"


async def append(
    subject: UUID | str,
    project: str,
    now: datetime,
    reason: str,
    message: str,
    *,
    kind: str = NORMAL,
    generation: int = 0,
    replica_id: str | None = None,
) -> None:
    """Add one event. subject: uid of the endpoint or model version. message: safe to show to the project."""
    row = EventRow(
        subject=UUID(str(subject)),
        project=project,
        at=now,
        kind=kind,
        reason=reason,
        message=message,
        generation=generation,
        replica_id=replica_id,
    )
    await EventRow.insert(row)


async def page(subject: UUID | str, limit: int, cursor: str | None) -> Page[Event]:
    """The subject's events, newest first."""
    count = size(limit)
    query = EventRow.select().where(EventRow.subject == UUID(str(subject))).order_by(EventRow.seq, ascending=False).limit(count + 1)
    if cursor is not None:
        query = query.where(EventRow.seq < _seq(cursor))
    found = await query
    items = tuple(_event(row) for row in found[:count])
    return Page(items=items, next_cursor=cursor_of(str(items[-1].seq)) if len(found) > count else None)


def _seq(cursor: str) -> int:
    (text,) = key_of(cursor, 1)
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidSpec((FieldError("/cursor", "is not a next_cursor of this list", "invalid_value"),))
    return int(text)


def _event(row: specs.Row) -> Event:
    return Event(
        seq=row["seq"],
        at=row["at"],
        kind=row["kind"],
        reason=row["reason"],
        message=row["message"],
        generation=row["generation"],
        replica_id=row["replica_id"],
    )
