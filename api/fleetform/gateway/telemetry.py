"""What this machine's proxy is seen to do now, and how requests ended in the last hour. Runs inside the host worker, beside the feed."""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import datetime

from fleetform.domain.load import Windows
from fleetform.gateway.intake import Intake
from fleetform.gateway.outliers import Outliers
from fleetform.gateway.sampler import Sampler
from fleetform.gateway.snapshot import EndpointRoute
from fleetform.gateway.windows import KEPT_S, WindowStore
from fleetform.settings import Settings


class Telemetry:
    """start, then read. routes: what is routed now, by key."""

    def __init__(self, settings: Settings, routes: Callable[[], Mapping[str, EndpointRoute]]) -> None:
        self.sampler = Sampler(settings, routes)
        self.store = WindowStore()
        self.outliers = Outliers()
        self.intake = Intake(settings.access_log, self.store, outliers=self.outliers)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to look, on the running event loop."""
        work = {"sampler": self.sampler.run(), "intake": self.intake.run()}
        self._tasks = [asyncio.create_task(run, name=name) for name, run in work.items()]

    async def stop(self) -> None:
        """Look no longer, and keep what the next worker goes on from."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.intake.close()
        self.sampler.save()

    def recent(self, window_s: float) -> dict[str, Windows]:
        """How the requests of every endpoint ended in the last window_s; empty while the past is still being read."""
        until = self.intake.until
        return {} if until is None else self.store.recent(until - window_s, until)

    def windows(self, key: str, since: datetime) -> Windows:
        """How the requests of that endpoint ended since then, by track; empty at the present while the past is still being read."""
        until = self.intake.until
        begin = max(since.timestamp(), time.time() - KEPT_S)
        return self.store.read(key, begin, begin if until is None else until)
