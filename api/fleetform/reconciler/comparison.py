"""How an endpoint's versions do side by side, as every gateway has counted it since a moment."""

import asyncio
from datetime import datetime

import structlog

from fleetform.domain.load import Windows, merged
from fleetform.drivers.base import Driver
from fleetform.errors import AppError
from fleetform.reconciler.sight import Sight

log = structlog.get_logger(__name__)
ANSWER_S = 2.0
"""A gateway that takes longer is left out of this look: the next one comes in some seconds, and a plan must not wait for it."""


async def compared(driver: Driver, sight: Sight, key: str, since: datetime) -> Windows | None:
    """The windows of the endpoint `key` at all gateways that answer, as one; None when none does."""
    reachable = [name for name in sight.gateways() if sight.is_reachable(name)]
    found = await asyncio.gather(*(_asked(driver, host, key, since) for host in reachable))
    return merged(windows for windows in found if windows is not None)


async def _asked(driver: Driver, host: str, key: str, since: datetime) -> Windows | None:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await driver.windows(host, key, since)
    except (AppError, TimeoutError) as error:
        log.warning("windows_unknown", host=host, endpoint=key, error=str(error) or type(error).__name__)
        return None
