"""The rounds that the host makes of its serving engines: one that hangs gets nothing new, and is ended when it does not come back.

How it is judged stands in liveness.py. Ending an engine is all that a host does by itself: the server replaces the replica.
"""

import asyncio
import random
from collections.abc import Callable

import structlog

from fleetform.domain.replica import Phase
from fleetform.host import liveness, probe
from fleetform.host.liveness import Signs
from fleetform.host.record import utc_now
from fleetform.host.replica import Replica
from fleetform.host.replicas import Replicas
from fleetform.host.vitals import Vital, Vitals

LOOK_S = 0.5
TOKENS_EVERY_S = 2.0
TOKENS_TIMEOUT_S = 1.0
PATIENCE_S = 30.0
"""How much longer than the endpoint's time limit requests may be under way without a token before an engine may be spinning."""

log = structlog.get_logger(__name__)


class Healing:
    """Looks at every serving engine twice a second, from `start` to `stop`.

    in_flight: requests under way at a replica, None when the proxy does not say.
    """

    def __init__(self, replicas: Replicas, in_flight: Callable[[str], int | None]) -> None:
        self._replicas = replicas
        self._in_flight = in_flight
        self._vitals = Vitals()
        self._patients: dict[str, _Patient] = {}
        self._rounds: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._replicas.keep_out()
        self._rounds = asyncio.create_task(self._make_rounds())

    async def stop(self) -> None:
        """Look no more. What is out of rotation stays so."""
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.wait({self._rounds})
        for patient in self._patients.values():
            await patient.close()

    async def _make_rounds(self) -> None:
        while True:
            try:
                await self._round()
            except Exception:
                log.exception("round_failed")
            await asyncio.sleep(LOOK_S)

    async def _round(self) -> None:
        serving = {replica.record.replica_id: replica for replica in self._replicas.serving()}
        for replica_id in self._patients.keys() - serving.keys():
            await self._patients.pop(replica_id).close()
        leaders = [(identity, r.is_vllm) for r in serving.values() if (identity := r.record.identity) is not None]
        vitals = await asyncio.to_thread(self._vitals.look, leaders)
        for replica_id, replica in serving.items():
            identity = replica.record.identity
            if identity is None or identity.session_id not in vitals:
                continue
            try:
                await self._examine(replica, vitals[identity.session_id])
            except Exception:
                # As when it cannot be written down: all others are looked at all the same.
                log.exception("replica_not_examined", replica=replica_id)

    async def _examine(self, replica: Replica, vital: Vital) -> None:
        replica_id = replica.record.replica_id
        if replica_id not in self._patients:
            self._patients[replica_id] = _Patient(replica)
        self._patients[replica_id].look(vital, self._in_flight(replica_id))
        await self._follow(self._patients[replica_id])

    async def _follow(self, patient: "_Patient") -> None:
        """Do what was found: the proxy first, since it is what keeps requests from being lost."""
        replica, pulse = patient.replica, patient.pulse
        if pulse.out_since != replica.record.hung_since:
            words = patient.words() if pulse.out_since is not None else ""
            await self._replicas.set_out(replica, pulse.out_since, words)
        if pulse.is_hung:
            replica.give_up(patient.words())


class _Patient:
    """One engine under observation, with the canary that it has been sent, if any."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        record = replica.record
        now = asyncio.get_running_loop().time()
        patience_s = record.start.request_timeout_s + PATIENCE_S
        self.pulse = liveness.born(now, patience_s, _canary_s(record.phases), record.hung_since)
        self._jitter = random.random()  # noqa: S311  # spreads canaries, guards nothing
        self._canary: asyncio.Task[None] | None = None
        self._counting: asyncio.Task[None] | None = None
        self._tokens: float | None = None
        self._counted_at = now

    def look(self, vital: Vital, in_flight: int | None) -> None:
        """Take in what one look shows, and send a canary where that is wanted."""
        now, wall = asyncio.get_running_loop().time(), utc_now()
        signs = Signs(in_flight=in_flight, tokens=self._tokens, cpu_s=vital.cpu_s, runnable=vital.runnable, stopped=vital.stopped)
        self.pulse = liveness.judged(liveness.looked(self.pulse, signs, now, wall), now, wall)
        if self.pulse.asked_at is None and self._canary is not None:
            self._canary.cancel()
            self._canary = None
        if liveness.wants_canary(self.pulse, now, self._jitter):
            self.pulse = liveness.asked(self.pulse, now)
            self._canary = asyncio.create_task(self._ask())
        if in_flight and self.replica.is_vllm and now - self._counted_at >= TOKENS_EVERY_S:
            self._counted_at = now
            self._counting = asyncio.create_task(self._count())

    def words(self) -> str:
        """What speaks against it, in a sentence."""
        return liveness.why(self.pulse, asyncio.get_running_loop().time())

    async def close(self) -> None:
        tasks = [task for task in (self._canary, self._counting) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self) -> None:
        record, adapter = self.replica.record, self.replica.adapter
        health_path = None if adapter.speaks_openai else adapter.health_path
        assert record.address is not None
        await probe.answered(record.address, record.start.served_name, record.start.track.manifest.task, health_path)
        self.pulse = liveness.answered(self.pulse, asyncio.get_running_loop().time())

    async def _count(self) -> None:
        assert self.replica.record.address is not None
        counted = await probe.tokens(self.replica.record.address, TOKENS_TIMEOUT_S)
        self._tokens = self._tokens if counted is None else counted


def _canary_s(phases: tuple[Phase, ...]) -> float | None:
    """How long the canary of its start took, which is what is normal for it; None when that is not known."""
    canary = next((phase for phase in phases if phase.name == "canary" and phase.ended_at is not None), None)
    return None if canary is None or canary.ended_at is None else (canary.ended_at - canary.started_at).total_seconds()
