"""Keeps the access log bounded: past its size it becomes access.log.1, the older ones move on, and the oldest goes."""

import asyncio
from pathlib import Path

import structlog

from fleetform.gateway import admin
from fleetform.settings import Settings

_log = structlog.get_logger()
LIMIT_BYTES = 64 << 20
KEPT = 4
"""Old logs kept beside the present one."""
_EVERY_S = 30


async def keep_bounded(settings: Settings) -> None:
    """Look every half minute, for ever. A full disk or a dead Envoy is told to the log, and tried again."""
    while True:
        try:
            await rotate(settings.access_log, settings.envoy_admin_socket)
        except OSError as error:
            _log.warning("access_log_not_rotated", error=str(error))
        await asyncio.sleep(_EVERY_S)


async def rotate(path: Path, admin_socket: Path, limit_bytes: int = LIMIT_BYTES) -> bool:
    """Move the logs on when path is over limit_bytes, and make Envoy begin a new one; whether that was so."""
    if not await asyncio.to_thread(_move_on, path, limit_bytes):
        return False
    await admin.reopen_logs(admin_socket)  # an Envoy that is not there opens the new file when it starts
    return True


def renamed(path: Path, number: int) -> Path:
    """The log that was in use number rotations ago."""
    return path.with_name(f"{path.name}.{number}")


def _move_on(path: Path, limit_bytes: int) -> bool:
    if not path.exists() or path.stat().st_size <= limit_bytes:
        return False
    for number in range(KEPT - 1, 0, -1):
        older = renamed(path, number)
        if older.exists():
            older.replace(renamed(path, number + 1))
    path.replace(renamed(path, 1))
    return True
