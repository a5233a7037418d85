"""What this machine's proxy is seen to do: its load now. Runs inside the host worker, beside the feed."""

import asyncio
from collections.abc import Callable, Mapping

from fleetform.gateway.sampler import Sampler
from fleetform.gateway.snapshot import EndpointRoute
from fleetform.settings import Settings


class Telemetry:
    """start, then read. routes: what is routed now, by key."""

    def __init__(self, settings: Settings, routes: Callable[[], Mapping[str, EndpointRoute]]) -> None:
        self.sampler = Sampler(settings, routes)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to look, on the running event loop."""
        self._tasks = [asyncio.create_task(self.sampler.run(), name="sampler")]

    async def stop(self) -> None:
        """Look no longer, and keep what the next worker goes on from."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.sampler.save()
