"""How long starts took, by version and instance type: a row per start, written in the transaction that makes the replica ready."""

from collections.abc import Sequence
from datetime import datetime

from fleetform.domain.base import Record
from fleetform.store.database import rows

KEPT = 50
"""Of each version and instance type; older ones say little of what the next will take."""


class Started(Record, frozen=True, kw_only=True):
    """One start that ended well, from its placing to its first routed moment."""

    version_uid: str
    model_version: str
    instance_type: str
    seconds: float


async def write(started: Sequence[Started], now: datetime) -> None:
    """Add each, and drop what is beyond KEPT. Inside the reconciler's transaction."""
    for start in started:
        key = (start.version_uid, start.instance_type)
        await rows(_WRITE, start.model_version, *key, now, start.seconds, *key, *key)


async def known() -> list[Started]:
    """All that is known of versions that are not deleted, oldest first.

    A version's rows go with it; those of a start that ended after that are removed here.
    """
    await rows("DELETE FROM start_time s USING model_version m WHERE m.uid = s.version_uid AND m.deleted_at IS NOT NULL")
    found = await rows("SELECT version_uid, model_version, instance_type, seconds FROM start_time ORDER BY id")
    return [
        Started(
            version_uid=str(row["version_uid"]),
            model_version=row["model_version"],
            instance_type=row["instance_type"],
            seconds=row["seconds"],
        )
        for row in found
    ]


_WRITE = f"""
WITH added AS (INSERT INTO start_time (model_version, version_uid, instance_type, at, seconds) VALUES ({{}}, {{}}, {{}}, {{}}, {{}}))
DELETE FROM start_time WHERE version_uid = {{}} AND instance_type = {{}} AND id <= (
    SELECT id FROM start_time WHERE version_uid = {{}} AND instance_type = {{}} ORDER BY id DESC OFFSET {KEPT - 1} LIMIT 1
)
"""  # noqa: S608  # a number of ours; the added row is not among those that the rest of the statement sees
