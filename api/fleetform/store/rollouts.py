"""Rollouts as people are told of them: one row per move of an endpoint to a generation, written in the transaction of the plan."""

from collections.abc import Sequence
from uuid import UUID

from fleetform.domain.rollout import Rollout
from fleetform.errors import FieldError, InvalidSpec
from fleetform.store.database import decode, encode, rows
from fleetform.store.writing import Page, cursor_of, key_of, size


async def write(uid: str, records: Sequence[Rollout]) -> None:
    """Each record of the endpoint in the place of what it was before, if it was. Inside the reconciler's transaction."""
    for record in records:
        await rows(_WRITE, uid, record.generation, record.started_at, encode(record))


async def forget(uid: UUID) -> None:
    """Remove what is told of an endpoint that is gone."""
    await rows("DELETE FROM rollout WHERE endpoint_uid = {}", uid)


async def page(uid: UUID, limit: int, cursor: str | None) -> Page[Rollout]:
    """The endpoint's rollouts, newest first."""
    count = size(limit)
    last = _MAX_ID if cursor is None else _id(cursor)
    found = await rows("SELECT id, body FROM rollout WHERE endpoint_uid = {} AND id < {} ORDER BY id DESC LIMIT {}", uid, last, count + 1)
    items = tuple(decode(Rollout, row["body"]) for row in found[:count])
    return Page(items=items, next_cursor=cursor_of(str(found[count - 1]["id"])) if len(found) > count else None)


def _id(cursor: str) -> int:
    (text,) = key_of(cursor, 1)
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidSpec((FieldError("/cursor", "is not a next_cursor of this list", "invalid_value"),))
    return int(text)


_MAX_ID = 2**63 - 1
_WRITE = """
INSERT INTO rollout (endpoint_uid, generation, started_at, body) VALUES ({}, {}, {}, {})
ON CONFLICT (endpoint_uid, generation, started_at) DO UPDATE SET body = excluded.body
"""
