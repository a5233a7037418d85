"""A replica as its record has it: on disk before anything follows from it, and shown as it is."""

import asyncio
from datetime import datetime
from typing import Any

import msgspec
import structlog

from fleetform.domain.protocol import HostReplicaState
from fleetform.host import logs
from fleetform.host.engines import adapter_for
from fleetform.host.engines.base import Adapter
from fleetform.host.parts import Host
from fleetform.host.processes import Identity
from fleetform.host.record import ReplicaRecord, domain_identity, in_phase, save, utc_now
from fleetform.host.threads import to_its_end
from fleetform.steps import Step, step

LOG_TAIL_LINES = 50

log = structlog.get_logger(__name__)


class Recorded:
    """The record of one replica and what follows from it alone. All changes of the record go through here.

    slow: why it is ejected, empty when it is not. Not in the record: the next worker measures anew.
    """

    def __init__(self, host: Host, record: ReplicaRecord) -> None:
        self.host = host
        self.record = record
        self.adapter: Adapter = adapter_for(record.start.track)
        self.slow = ""
        self.log = log.bind(replica=record.replica_id, endpoint=record.route_key, generation=record.start.generation)
        self._saving = asyncio.Lock()

    @property
    def exited(self) -> bool:
        return self.record.state is HostReplicaState.EXITED

    @property
    def is_vllm(self) -> bool:
        return self.record.start.track.command is None

    @property
    def stopping(self) -> bool:
        """True when there is nothing left to stop, or its end has begun."""
        return self.exited or self.record.drain_until is not None or self.record.failure is not None

    @property
    def serves_now(self) -> bool:
        """True when its engine is up and is neither being stopped nor ended."""
        return self.record.state is HostReplicaState.SERVING and not self.stopping

    async def enter(self, phase: str, **changes: Any) -> None:
        """Be in that phase of the start from now on, with these changes of the record."""
        await self.update(phases=in_phase(self.record.phases, phase, utc_now()), **changes)

    async def update(self, **changes: Any) -> None:
        """Change the record; it is on disk, and shown, when this returns."""
        self.record = msgspec.structs.replace(self.record, **changes)
        async with self._saving:
            # The newest one: whoever waited here may have been overtaken.
            await to_its_end(save, self.host.layout, self.record)
        self.show()

    def record_process(self, identity: Identity) -> None:
        """Name the process of its engine; on disk when this returns. For the thread that starts it."""
        self.record = msgspec.structs.replace(self.record, process=domain_identity(identity))
        save(self.host.layout, self.record)
        step(Step.PROCESS_RECORDED)

    def progress(self, phase: str, done: int, total: int) -> None:
        """Show how far a phase is, of which nothing needs to be on disk. total: 0 when it is not known."""
        phases = in_phase(self.record.phases, phase, utc_now(), done, total or None)
        self.record = msgspec.structs.replace(self.record, phases=phases)
        self.show()

    def show(self) -> None:
        self.host.board.put_replica(msgspec.structs.replace(self.record.shown(), slow=self.slow))

    def log_tail(self) -> tuple[str, ...]:
        """The last words of its engine."""
        return logs.last_words(self.host.layout.log(self.record.engine_id), LOG_TAIL_LINES)

    def started_at(self, *names: str) -> datetime:
        """When the first phase of one of these names began."""
        return next((p.started_at for p in self.record.phases if p.name in names), utc_now())
