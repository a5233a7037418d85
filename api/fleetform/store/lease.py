"""Who leads a shard. One row each; its epoch only grows, and every write of a reconciler is guarded by it.

The holder also keeps a session lock, of the shard and its epoch, on a connection of its own. PostgreSQL drops it the moment the process
dies, so that a successor need not wait for the lease to run out: whoever gets the lock of the epoch that leads knows that nobody leads
any more. A holder that is stopped keeps the lock but not the lease; its successor has another epoch, and with it a lock of its own.
"""

import zlib
from typing import Any

import asyncpg

from fleetform.errors import NotLeader
from fleetform.steps import Step, step
from fleetform.store.database import CONNECT_TIMEOUT_S, away, rows, transaction

TTL_S = 15
RENEW_S = 5


class Claim:
    """One server's claim on a shard. holder: unique to the process. epoch 0: never led."""

    def __init__(self, url: str, shard: str, holder: str) -> None:
        self.shard, self.holder = shard, holder
        self.epoch = 0
        self._url = url
        self._locked: set[int] = set()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def take(self) -> bool:
        """True when this server leads now, with a new epoch: the holder before it has died, given up, or let its lease run out."""
        step(Step.LEASE_BEFORE_TAKE)
        taken = await self._taken()
        step(Step.LEASE_TAKEN)
        await self._unlock_others(self.epoch if taken else None)
        return taken

    async def _taken(self) -> bool:
        (seen,) = await rows(_SEEN, self.shard, self.holder)
        free = seen["free"] or await self._lock(seen["epoch"])
        # That of the epoch to come before the row: whoever sees the row must find the lock taken.
        if not free or not await self._lock(seen["epoch"] + 1):
            return False
        async with transaction():
            await rows("SELECT FROM lease WHERE shard = {} FOR UPDATE", self.shard)  # after every write that has been guarded
            found = await rows(_TAKE, self.shard, self.holder, seen["epoch"] + 1, float(TTL_S), seen["epoch"])
        if found:
            self.epoch = found[0]["epoch"]
        return bool(found)

    async def renew(self) -> bool:
        """False when another server leads. Gets the session lock too, where its connection was lost."""
        await self._lock(self.epoch)
        step(Step.LEASE_BEFORE_RENEW)
        found = await rows(_RENEW, float(TTL_S), self.shard, self.holder, self.epoch)
        step(Step.LEASE_RENEWED)
        return bool(found)

    async def give_up(self) -> None:
        """Let a successor take over at once."""
        if self.epoch:
            await rows(_GIVE_UP, self.shard, self.holder, self.epoch)
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _lock(self, epoch: int) -> bool:
        """True when the session lock of epoch is held, newly or still."""
        with away():
            if self._connection is None or self._connection.is_closed():
                settings = {"application_name": "fleetform-lease"}
                self._connection = await asyncpg.connect(self._url, timeout=CONNECT_TIMEOUT_S, server_settings=settings)
                self._locked.clear()
            if epoch not in self._locked and await self._connection.fetchval(_LOCK, _key(self.shard), epoch & 0x7FFF_FFFF):
                self._locked.add(epoch)
        return epoch in self._locked

    async def _unlock_others(self, epoch: int | None) -> None:
        """Let go of every lock but that of epoch: one that was got to see whether somebody leads must not look like somebody."""
        for other in sorted(self._locked - {epoch}):
            self._locked.discard(other)
            if self._connection is not None and not self._connection.is_closed():
                with away():
                    await self._connection.execute(_UNLOCK, _key(self.shard), other & 0x7FFF_FFFF)


def _key(shard: str) -> int:
    """The shard as PostgreSQL's signed 32 bits."""
    return zlib.crc32(f"fleetform-lease-{shard}".encode()) - 2**31


async def guard(shard: str, epoch: int) -> None:
    """Inside a transaction: nobody takes the shard over before it ends. NotLeader when somebody has.

    By a lock that a renewal need not wait for: guarded writes may follow each other so closely that it would never be its turn.
    """
    found: list[dict[str, Any]] = await rows("SELECT epoch FROM lease WHERE shard = {} FOR KEY SHARE", shard)
    if not found or found[0]["epoch"] != epoch:
        seen = found[0]["epoch"] if found else 0
        raise NotLeader(f"shard {shard} is led with epoch {seen}, not {epoch}", shard=shard, epoch=epoch, seen=seen)


_LOCK = "SELECT pg_try_advisory_lock($1::int, $2::int)"
_UNLOCK = "SELECT pg_advisory_unlock($1::int, $2::int)"
_SEEN = """
SELECT coalesce(max(l.epoch), 0) AS epoch, coalesce(bool_and(l.expires_at < now() OR l.holder = h.holder), true) AS free
FROM (SELECT {}::text AS shard, {}::text AS holder) h LEFT JOIN lease l ON l.shard = h.shard
"""
_TAKE = """
INSERT INTO lease AS l (shard, holder, epoch, expires_at) VALUES ({}, {}, {}, now() + make_interval(secs => {}))
ON CONFLICT (shard) DO UPDATE SET holder = excluded.holder, epoch = excluded.epoch, expires_at = excluded.expires_at
WHERE l.epoch = {}
RETURNING epoch
"""
_RENEW = """
UPDATE lease SET expires_at = now() + make_interval(secs => {}) WHERE shard = {} AND holder = {} AND epoch = {} RETURNING epoch
"""
_GIVE_UP = "UPDATE lease SET expires_at = now() - interval '1 second' WHERE shard = {} AND holder = {} AND epoch = {}"
