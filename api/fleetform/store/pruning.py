"""What is told of the past ends after the retention; what is still needed to explain the present stays, however old.

events        older ones go, but for the newest of each reason of an endpoint or version that is still there
rollouts      those that began earlier go, but for the newest of each endpoint
endpoints     the tombstones of those that were gone before
credentials   those that had expired before

By the server's clock. One set ahead by more than the retention would take all that may go: nothing here is needed to serve. But with
a credential goes its revocation, which would be missing if the clock were set back before the credential's true end.
"""

from datetime import datetime

from fleetform.store import lease
from fleetform.store.database import rows, transaction

BATCH = 1000
"""Rows of one statement, so that no lock is held for long and nobody waits."""
BATCHES_MAX = 50
"""Of each kind at a time; the rest goes the next time."""


async def prune(before: datetime, shard: str, epoch: int) -> int:
    """Remove what is older than before; how many rows. NotLeader when the shard has another leader."""
    gone = 0
    for statement in _STATEMENTS:
        for _ in range(BATCHES_MAX):
            async with transaction():
                await lease.guard(shard, epoch)
                found = await rows(statement, before, BATCH)
            gone += found[0]["gone"]
            if found[0]["gone"] < BATCH:
                break
    return gone


_EVENTS = """
WITH old AS (
    SELECT e.seq FROM event e WHERE e.at < {}
    AND (EXISTS (SELECT FROM event n WHERE n.subject = e.subject AND n.reason = e.reason AND n.seq > e.seq)
         OR NOT (EXISTS (SELECT FROM endpoint p WHERE p.uid = e.subject AND p.alive)
                 OR EXISTS (SELECT FROM model_version v WHERE v.uid = e.subject AND v.deleted_at IS NULL)))
    ORDER BY e.at LIMIT {}
), gone AS (DELETE FROM event USING old WHERE event.seq = old.seq RETURNING 1)
SELECT count(*) AS gone FROM gone
"""
_ROLLOUTS = """
WITH old AS (
    SELECT r.id FROM rollout r WHERE r.started_at < {}
    AND EXISTS (SELECT FROM rollout n WHERE n.endpoint_uid = r.endpoint_uid AND n.id > r.id)
    ORDER BY r.started_at LIMIT {}
), gone AS (DELETE FROM rollout USING old WHERE rollout.id = old.id RETURNING 1)
SELECT count(*) AS gone FROM gone
"""
_ENDPOINTS = """
WITH old AS (SELECT uid FROM endpoint WHERE NOT alive AND deleted_at < {} ORDER BY deleted_at LIMIT {}),
     gone AS (DELETE FROM endpoint USING old WHERE endpoint.uid = old.uid AND NOT endpoint.alive RETURNING 1)
SELECT count(*) AS gone FROM gone
"""
_CREDENTIALS = """
WITH old AS (SELECT jti FROM credential WHERE expires_at < {} ORDER BY expires_at LIMIT {}),
     gone AS (DELETE FROM credential USING old WHERE credential.jti = old.jti RETURNING 1)
SELECT count(*) AS gone FROM gone
"""
_STATEMENTS = (_EVENTS, _ROLLOUTS, _ENDPOINTS, _CREDENTIALS)
