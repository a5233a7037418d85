"""Who leads a shard. One row each; its epoch only grows, and every write of a reconciler is guarded by it.

The holder also keeps a session lock on a connection of its own. PostgreSQL drops it the moment the process dies, so that a successor
need not wait for the lease to run out; a holder that is stopped keeps the lock but not the lease. When it goes on and finds a
successor, it leaves the lock to that one, and does not take the shard back by it.
"""

import asyncio
import zlib
from typing import Any

import asyncpg

from fleetform.errors import NotLeader
from fleetform.steps import Step, step
from fleetform.store.database import CONNECT_TIMEOUT_S, away, rows

TTL_S = 15
RENEW_S = 5


class Claim:
    """One server's claim on a shard. holder: unique to the process. epoch 0: never led."""

    def __init__(self, url: str, shard: str, holder: str) -> None:
        self.shard, self.holder = shard, holder
        self.epoch = 0
        self._url = url
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def take(self) -> bool:
        """True when this server leads now, with a new epoch: the holder before it has died, given up, or let its lease run out."""
        clock = asyncio.get_running_loop().time
        was_ours = self._holds_lock
        locked = not was_ours and clock() >= self._leaves_lock_until and await self._lock()
        step(Step.LEASE_BEFORE_TAKE)
        found = await rows(_TAKE, self.shard, self.holder, float(TTL_S), locked)
        step(Step.LEASE_TAKEN)
        if not found:
            if was_ours:
                self._let_go()
                self._leaves_lock_until = clock() + RENEW_S + 1
            return False
        self.epoch = found[0]["epoch"]
        return True

    async def renew(self) -> bool:
        """False when another server leads. Gets the session lock too, where taking over went without."""
        await self._lock()
        step(Step.LEASE_BEFORE_RENEW)
        found = await rows(_RENEW, float(TTL_S), self.shard, self.holder, self.epoch)
        step(Step.LEASE_RENEWED)
        return bool(found)

    async def give_up(self) -> None:
        """Let a successor take over at once."""
        if self.epoch:
            await rows(_GIVE_UP, self.shard, self.holder, self.epoch)
        self._let_go()

    @property
    def _holds_lock(self) -> bool:
        return self._has_lock and self._connection is not None and not self._connection.is_closed()

    def _let_go(self) -> None:
        """Of the session lock, with its connection."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _lock(self) -> bool:
        """True when the session lock is held, newly or still."""
        with away():
            if self._connection is None or self._connection.is_closed():
                settings = {"application_name": "fleetform-lease"}
                self._connection = await asyncpg.connect(self._url, timeout=CONNECT_TIMEOUT_S, server_settings=settings)
                self._has_lock = False
            if not self._has_lock:
                key = zlib.crc32(f"fleetform-lease-{self.shard}".encode())
                self._has_lock = bool(await self._connection.fetchval("SELECT pg_try_advisory_lock($1)", key))
        return self._has_lock

    _has_lock = False
    _leaves_lock_until = 0.0


async def guard(shard: str, epoch: int) -> None:
    """Inside a transaction: nobody takes the shard over before it ends. NotLeader when somebody has."""
    found: list[dict[str, Any]] = await rows("SELECT epoch FROM lease WHERE shard = {} FOR SHARE", shard)
    if not found or found[0]["epoch"] != epoch:
        seen = found[0]["epoch"] if found else 0
        raise NotLeader(f"shard {shard} is led with epoch {seen}, not {epoch}", shard=shard, epoch=epoch, seen=seen)


_TAKE = """
INSERT INTO lease AS l (shard, holder, epoch, expires_at) VALUES ({}, {}, 1, now() + make_interval(secs => {}))
ON CONFLICT (shard) DO UPDATE SET holder = excluded.holder, epoch = l.epoch + 1, expires_at = excluded.expires_at
WHERE {} OR l.expires_at < now() OR l.holder = excluded.holder
RETURNING epoch
"""
_RENEW = """
UPDATE lease SET expires_at = now() + make_interval(secs => {}) WHERE shard = {} AND holder = {} AND epoch = {} RETURNING epoch
"""
_GIVE_UP = "UPDATE lease SET expires_at = now() - interval '1 second' WHERE shard = {} AND holder = {} AND epoch = {}"
