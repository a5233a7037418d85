"""Hosts as they last reported. Written only when a host's capacity or boot has changed."""

from datetime import datetime

import msgspec

from fleetform.domain.machine import HostCapacity
from fleetform.store.database import decode, encode, rows


async def save(capacity: HostCapacity, boot_id: str, now: datetime) -> bool:
    """Record what a host offers; False, and no write, when that is recorded already. Whether it answers is not recorded."""
    body = encode(msgspec.structs.replace(capacity, reachable=True))
    return bool(await rows(_SAVE, capacity.host, boot_id, now, body))


async def all_hosts() -> tuple[HostCapacity, ...]:
    """Every host that ever reported, by name."""
    return tuple(decode(HostCapacity, row["body"]) for row in await rows("SELECT body FROM host ORDER BY host"))


_SAVE = """
INSERT INTO host AS h (host, boot_id, seen_at, body) VALUES ({}, {}, {}, {})
ON CONFLICT (host) DO UPDATE SET boot_id = excluded.boot_id, seen_at = excluded.seen_at, body = excluded.body
WHERE h.boot_id <> excluded.boot_id OR h.body <> excluded.body
RETURNING host
"""
