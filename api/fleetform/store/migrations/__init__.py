"""The schema, one SQL file per step, and what applies them in order.

Plain SQL, because a step and the row that records it must commit together: a server killed inside a migration then starts again as if
it had never begun. A file that has been released is never edited. Piccolo's own runner records a step after it and takes no lock.
"""

from importlib import resources

import asyncpg

from fleetform.errors import SetupError
from fleetform.store import database

LOCK = 7_081_001
"""The advisory lock that makes servers starting at once migrate one after another."""


async def migrate(url: str) -> tuple[str, ...]:
    """Bring the database at url to this release; the names of the steps that were applied now.

    SetupError when the database is of a newer release: an older server must not write into it.
    """
    with database.away():
        connection = await asyncpg.connect(url, timeout=database.CONNECT_TIMEOUT_S)
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
            return await _apply(connection, steps())
        finally:
            await connection.close()


def steps() -> dict[str, str]:
    """Every step of this release, in order: name → SQL."""
    files = sorted((f for f in resources.files(__name__).iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return {file.name.removesuffix(".sql"): file.read_text() for file in files}


async def _apply(connection: "asyncpg.Connection[asyncpg.Record]", known: dict[str, str]) -> tuple[str, ...]:
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_step (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    applied = {row["name"] for row in await connection.fetch("SELECT name FROM schema_step")}
    strange = sorted(applied - known.keys())
    if strange:
        raise SetupError(f"the database was migrated by a newer release ({strange[-1]}); start that release, or restore an older backup")
    waiting = tuple(name for name in known if name not in applied)
    for name in waiting:
        async with connection.transaction():
            await connection.execute(known[name])
            await connection.execute("INSERT INTO schema_step (name) VALUES ($1)", name)
    return waiting
