"""Questions that only fleetcheck asks: about everything at once, and never on the way of a request."""

from typing import Final
from uuid import UUID

from fleetform.redaction import LEAK_FORMS
from fleetform.store.database import rows

NOBODY: Final = UUID(int=0)
_TEXTS = {
    "endpoint": ("uid", "spec::text || effective::text || status::text || coalesce(rollout::text, '') || coalesce(scaling::text, '')"),
    "model_version": ("uid", "spec::text || status::text"),
    "replica": ("replica_id", "body::text"),
    "event": ("seq", "message"),
    "rollout": ("id", "body::text"),
}
"""Table → its key, and the texts in it that come from engines, hosts or clients."""


async def quotas() -> list[tuple[str, str, int, int]]:
    """Every quota: project, instance type, its limit, and how many reservations there are."""
    return [(row["project"], row["instance_type"], row["max_replicas"], row["reserved"]) for row in await rows(_QUOTAS)]


async def unannounced() -> list[str]:
    """Keys of living endpoints whose newest generation has no event."""
    return [str(row["key"]) for row in await rows(_UNANNOUNCED)]


async def showing(canaries: tuple[str, ...]) -> list[str]:
    """Rows, such as `event 17`, that hold one of canaries, or a text of the form of a secret."""
    found = []
    for table, (key, text) in _TEXTS.items():
        sql = f"SELECT {key} AS key FROM {table} WHERE ({text}) ~ {{}} OR EXISTS (SELECT FROM unnest({{}}::text[]) c WHERE ({text}) LIKE c)"  # noqa: S608  # constants only
        patterns = [f"%{_escaped(canary)}%" for canary in canaries]
        found += [f"{table} {row['key']}" for row in await rows(sql, LEAK_FORMS, patterns)]
    return found


def _escaped(text: str) -> str:
    """text as LIKE takes it literally."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


_QUOTAS = """
SELECT q.project, q.instance_type, q.max_replicas, count(r.replica_id) AS reserved
FROM quota q LEFT JOIN reservation r ON r.project = q.project AND r.instance_type = q.instance_type
GROUP BY 1, 2, 3 ORDER BY 1, 2
"""
_UNANNOUNCED = """
SELECT e.project || '/' || e.name AS key FROM endpoint e
WHERE e.alive AND NOT EXISTS (
    SELECT FROM event v WHERE v.subject = e.uid AND v.generation = e.generation AND v.reason IN ('Created', 'Updated'))
ORDER BY 1
"""
