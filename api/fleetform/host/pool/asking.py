"""The host asks one of its engines to sleep, to wake, or to forget."""

import httpx2

from fleetform.domain.replica import Address
from fleetform.host import probe
from fleetform.host.pool.control import FORGET, SLEEP, WAKE
from fleetform.redaction import redact

SLEEP_S = 180.0
"""All of the weights are copied into memory of the host that must be found first."""
WAKE_S = 60.0


class Refused(Exception):
    """The engine does not do it; the message says why."""


async def fall_asleep(address: Address) -> None:
    """Return once the engine at address sleeps: its weights lie in the host's memory. Refused."""
    await _post(address, SLEEP, SLEEP_S)


async def wake_up(address: Address) -> None:
    """Return once the engine at address has its weights on the device again. Refused."""
    await _post(address, WAKE, WAKE_S)


async def forget(address: Address) -> None:
    """Return once the engine at address finds nothing again of what it was asked: its caches are reset. Refused."""
    await _post(address, FORGET, WAKE_S)


async def _post(address: Address, path: str, timeout_s: float) -> None:
    try:
        async with probe.client(address) as http:
            answer = await http.post(path, timeout=timeout_s)
    except (httpx2.HTTPError, OSError) as error:
        raise Refused(f"the engine does not answer: {type(error).__name__}") from error
    if answer.status_code != 200:
        raise Refused(f"the engine answered {answer.status_code}: {redact(answer.text[:300])}")
