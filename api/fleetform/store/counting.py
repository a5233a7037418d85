"""How many replicas there are of each endpoint's variants and versions."""

from fleetform.domain.base import Record
from fleetform.domain.replica import ReplicaPhase
from fleetform.store import database


class ReplicaCount(Record, frozen=True, kw_only=True):
    """count replicas of one track in one phase. slow: those of them that are ejected for it."""

    project: str
    endpoint: str
    track: str
    model_version: str
    phase: ReplicaPhase
    count: int
    slow: int = 0


async def replica_counts() -> tuple[ReplicaCount, ...]:
    """Of every endpoint that has replicas; those that have stopped are not counted."""
    found = await database.rows(
        "SELECT e.project, e.name AS endpoint, r.body->>'track' AS track, r.body->>'model_version' AS model_version, r.phase,"
        " count(*) AS count, count(*) FILTER (WHERE r.body->>'slow' <> '') AS slow"
        " FROM replica r JOIN endpoint e ON e.uid = r.endpoint_uid WHERE e.alive AND r.phase <> {}"
        " GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5",
        ReplicaPhase.STOPPED.value,
    )
    return tuple(ReplicaCount(**{**row, "phase": ReplicaPhase(row["phase"])}) for row in found)
