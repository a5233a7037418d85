"""Engines that sleep on a pretended host. They are lost with the server: what remembers is the journal of replicas alone."""

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from fleetform.domain.protocol import SleepingEngine, StartReplica, sleeping_engine
from fleetform.domain.replica import Phase

MEMORY_MIB = 1024
_NO_TIME = datetime.fromtimestamp(0, UTC)
WOKEN = Phase(name="wake", started_at=_NO_TIME, ended_at=_NO_TIME)
"""The one phase of a start that wakes an engine, on a host where no time passes."""


class Sleepers:
    """By engine id."""

    def __init__(self) -> None:
        self.by_id: dict[str, SleepingEngine] = {}

    def engine_of(self, start: StartReplica) -> SleepingEngine:
        """What the engine of start would be, asleep: one that it wakes, which sleeps no longer, or one that it launches."""
        made = sleeping_engine(start.replica_id, start, _NO_TIME, memory_mib=MEMORY_MIB)
        for engine_id, asleep in self.by_id.items():
            if asleep == msgspec.structs.replace(made, engine_id=engine_id, since=asleep.since):
                return self.by_id.pop(engine_id)
        return made

    def put(self, engine: SleepingEngine, seq: int) -> None:
        """It falls asleep now; seq stands for the time, which no host here has. One without a device, or of nobody, does not."""
        if engine.devices and engine.endpoint_uid:
            self.by_id[engine.engine_id] = msgspec.structs.replace(engine, since=datetime.fromtimestamp(seq, UTC))

    def end(self, engine_ids: Iterable[str]) -> bool:
        """End these; True when one of them slept."""
        return bool([self.by_id.pop(engine_id) for engine_id in engine_ids if engine_id in self.by_id])

    def shown(self) -> tuple[SleepingEngine, ...]:
        """As the report shows them."""
        return tuple(engine for _, engine in sorted(self.by_id.items()))
