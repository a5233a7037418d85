"""The life of one replica on this host: fetch, launch, prove, serve; drain, end, clean up. Each step is on disk before the next."""

import asyncio
import signal
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from fleetform.domain.protocol import HostReplicaState, StopReplica
from fleetform.domain.replica import FailureReason
from fleetform.host import ending, forking, losing, processes, restoring, starting, waking
from fleetform.host.engines.base import SHUTDOWN_TIMEOUT_S, mark
from fleetform.host.exits import Exit, ended
from fleetform.host.failing import Failed
from fleetform.host.parts import Host
from fleetform.host.probe import NotServing
from fleetform.host.processes import Identity
from fleetform.host.record import ReplicaRecord, utc_now, without_running
from fleetform.host.recorded import Recorded
from fleetform.host.threads import patiently, to_its_end
from fleetform.redaction import redact
from fleetform.steps import Step, step

KILL_AFTER_S = SHUTDOWN_TIMEOUT_S + 5
RETRY_S = 5.0
QUARANTINE_POLL_S = 1.0


class Replica(Recorded):
    """One replica, and the task that lives its life. The task may be cancelled at any line and begun again from the record."""

    def __init__(self, host: Host, record: ReplicaRecord) -> None:
        super().__init__(host, record)
        self.task: asyncio.Task[None] | None = None
        self.exit: Exit | None = None
        self._broken = False
        self._turning = asyncio.Lock()
        self._begun_at = asyncio.get_running_loop().time()
        self._hung: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def begin(self) -> None:
        """Go on from where the record stands."""
        self.show()
        if not self.exited:
            self.task = asyncio.create_task(self._live(), name=f"replica {self.record.replica_id}")

    async def let_go(self) -> None:
        """Stop looking after it; whatever runs goes on running."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})

    async def stop(self, command: StopReplica) -> None:
        """Begin to stop it. A replica that is already being stopped, or has ended, is left to it.

        OSError when that cannot be written down: then it goes on as it was.
        """
        async with self._turning:
            if self.stopping:
                return
            await self.let_go()
            # What a hung engine has under way never ends.
            drains = self.record.state is HostReplicaState.SERVING and self.record.hung_since is None
            wait_s = command.drain_timeout_s if drains else 0
            # How it was started explains no end; that it hung does.
            message = self.record.message if self.record.hung_since is not None else ""
            keep_warm = command.keep_warm and drains and bool(self.record.fingerprint)
            drain_until = utc_now() + timedelta(seconds=wait_s)
            await self._turn(state=HostReplicaState.STOPPING, drain_until=drain_until, message=message, keep_warm=keep_warm)

    async def stop_at_once(self) -> None:
        """Stop it, and wait no longer for the proxy where it drains already; its engine is not kept. OSError as in `stop`."""
        await self.stop(StopReplica(replica_id=self.record.replica_id, drain_timeout_s=0))
        async with self._turning:
            drain_until = self.record.drain_until
            if self.exited or self.record.failure is not None or drain_until is None or drain_until <= utc_now():
                return
            await self.let_go()
            await self._turn(drain_until=utc_now(), keep_warm=False)

    async def _turn(self, **changes: Any) -> None:
        """Live on with these changes; without them when they cannot be written down, which is an OSError."""
        before = self.record
        try:
            if not self.exited:
                await self.update(**changes)
        except OSError:
            self.record = before
            raise
        finally:
            self.begin()

    async def set_out(self, since: datetime | None, message: str) -> None:
        """Show that it is out of rotation since then, and why; None: it is back."""
        await self.update(hung_since=since, message=message)
        if since is None:
            self.log.info("replica_back")
        else:
            self.log.warning("replica_out_of_rotation", message=message)

    def set_slow(self, why: str) -> None:
        """Show that it is ejected for being slow, and why; empty: it is back."""
        self.slow = why
        self.show()
        if why:
            self.log.warning("replica_ejected", message=why)
        else:
            self.log.info("replica_back")

    def give_up(self, message: str) -> None:
        """It hangs and does not come back: it is ended."""
        if not self._hung.done():
            self._hung.set_result(message)

    async def _live(self) -> None:
        """Its life from where it stands to its end. While a step cannot be taken, as on a full disk, it is taken again."""
        is_unsaved = False
        while True:
            try:
                if is_unsaved:
                    await self.update()  # nothing may follow from what this process alone knows
                await self._go_on()
            except Exception as error:
                is_unsaved = True
                self.log.error("replica_cannot_go_on", error=str(error), exc_info=not isinstance(error, OSError))
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _go_on(self) -> None:
        try:
            if self.record.failure is None and self.record.drain_until is None:
                await self._run()
            elif self.record.failure is None:
                step(Step.DRAIN_BEFORE)
                await ending.drained(self.host.proxy, self.record)
                step(Step.DRAINED)
                await waking.fall_asleep(self)
                await restoring.put_on_disk(self)
        except (Failed, NotServing) as failed:
            await self._failed(failed.reason, failed.message)
        except OSError as error:
            if not self._is_overdue():
                raise
            why = error.strerror or type(error).__name__
            await self._failed(FailureReason.LAUNCH_REFUSED, f"the host could not go on: {why}")
        except Exception as error:
            # As where no thread can be begun: what serves does so without us.
            if self.record.state is HostReplicaState.SERVING and processes.alive(cast(Identity, self.record.identity)):
                raise
            self.log.exception("replica_task_failed")
            await self._failed(FailureReason.LAUNCH_REFUSED, f"the host could not go on: {type(error).__name__}")
        await self._finish()

    async def _run(self) -> None:
        """Until it ends, which is always a Failed: a replica that is stopped has its task cancelled."""
        if self.record.identity is None and not self.record.woken_id:
            await waking.claim(self)
        if self.record.identity is None and not self.record.woken_id:
            await restoring.claim(self)
        identity = self.record.identity
        if identity is not None and (identity.boot_id, identity.pid_namespace) != (processes.boot_id(), processes.pid_namespace()):
            raise Failed(FailureReason.HOST_LOST, "the machine, or the container in which the host runs, was started anew")
        if self.record.woken_id and self.record.state is not HostReplicaState.SERVING:
            back = restoring.prove if self.record.expects else waking.wake
            await (restoring.restore if self.record.on_disk else back)(self)
            identity = self.record.identity
        if self.record.state is not HostReplicaState.SERVING:
            identity = await forking.start(self, identity)
        assert identity is not None
        end = asyncio.ensure_future(ended(identity, self.host.layout.exits))
        try:
            loss = await losing.lost(self, identity, end, self._hung)
            self.exit, self._broken = loss.exit, loss.is_broken
            raise loss.failed
        finally:
            end.cancel()

    async def free_devices(self) -> None:
        """Have sleeping engines make way on our devices as far as they must. Failed when somebody else holds their memory."""
        await self.host.pool.make_room(self.record.start.track, self.record.devices)
        busy = await self.host.ledger.busy(self.record.devices)
        if busy is not None:
            raise Failed(FailureReason.LAUNCH_REFUSED, busy)

    async def spawn(self, step: starting.Spawn, model_dir: Path) -> Identity:
        """Have step start the engine. NotForked passes through."""
        try:
            # Also when it is cancelled: what was started is in the record by the time this is done.
            identity = await to_its_end(step, self.host.layout, self.adapter, self.record, model_dir, self.record_process)
        except OSError as error:
            raise Failed(FailureReason.LAUNCH_REFUSED, f"the engine cannot be started: {error}") from error
        await self.enter("load")
        self.log.info("engine_launched", pid=identity.pid)
        return identity

    async def prove(self, identity: Identity, end: "asyncio.Future[Exit]") -> None:
        """Until it has proved that it serves what was asked for. Failed when it ends, takes too long, or is somebody else."""
        limit_s = self.record.start.start_timeout_s
        launched_at = self.started_at(*(("restore", "wake") if self.record.woken_id else ("fork", "launch")))
        remaining = (launched_at + timedelta(seconds=limit_s) - utc_now()).total_seconds()
        proof = asyncio.ensure_future(starting.prove(self.host.layout, self.adapter, self.record, identity, self.enter))
        try:
            tasks: set[asyncio.Future[Any]] = {proof, end}
            done, _ = await asyncio.wait(tasks, timeout=max(0.0, remaining), return_when=asyncio.FIRST_COMPLETED)
        finally:
            proof.cancel()
        if end in done:
            self.exit = end.result()
            raise losing.crashed(self, "", self.exit)
        if proof not in done:
            raise Failed(FailureReason.START_TIMEOUT, f"the engine was not ready within {limit_s} s")
        proof.result()

    async def serves(self, *began: str) -> None:
        """It has proved itself. began: the phase, by the first of these names, with which the engine's start began."""
        now = utc_now()
        await self.update(state=HostReplicaState.SERVING, phases=without_running(self.record.phases, now))
        self.log.info("replica_serves", seconds=round((now - self.started_at(*began)).total_seconds(), 1))

    async def _failed(self, reason: FailureReason, message: str) -> None:
        await self.update(failure=reason, message=redact(message), log_tail=self.log_tail())
        self.log.warning("replica_failed", reason=reason.value, message=self.record.message)

    async def _finish(self) -> None:
        """The whole group gone, device memory back, socket and scratch removed; or its engine sleeps. Then it is `exited`."""
        if not (self.host.pool.holds(self.record.engine_id) or self.host.snapshots.holds(self.record.engine_id)):
            await self._end()
        self.host.artifacts.unpin(self.record.start.track.manifest.digest, self.record.replica_id)
        code = self.exit.code if self.exit is not None else None
        await self.update(state=HostReplicaState.EXITED, exit_code=code, phases=without_running(self.record.phases, utc_now()))
        self.host.pool.leave(self.record.engine_id)
        self.host.snapshots.leave(self.record.engine_id)
        self.log.info("replica_exited", exit_code=code, failure=self.record.failure)

    async def _end(self) -> None:
        identity = self.record.identity
        if identity is not None:
            step(Step.END_BEFORE)
            await self.end_group(identity)
            step(Step.GROUP_GONE)
            await self._await_memory()
        step(Step.CLEAN_BEFORE)
        await self.host.snapshots.remove(self.record.engine_id, put_back=True)
        await asyncio.to_thread(ending.clean, self.host.layout, self.record.engine_id)
        step(Step.CLEANED)

    async def end_group(self, identity: Identity, *, at_once: bool = False) -> None:
        """End the engine with all that it began. at_once: without a grace, as one that hangs or has lost a part."""
        layout = self.host.layout
        end = asyncio.ensure_future(ended(identity, layout.exits))
        try:
            # One that hangs or has lost a part would let its grace pass, and keep whoever waits for it from being answered elsewhere.
            is_lost = at_once or self._broken or self.record.hung_since is not None
            grace_s, first = (0.0, signal.SIGKILL) if is_lost else (KILL_AFTER_S, signal.SIGTERM)
            home, mine = layout.work(self.record.engine_id), mark(layout.scratch(self.record.engine_id))
            await patiently(processes.end_group, identity, home, grace_s, first)
            await patiently(processes.end_strays, identity, home, mine)
            while (doubt := await asyncio.to_thread(ending.left_in_doubt, layout, self.record.engine_id, identity)) is not None:
                if self.record.state is not HostReplicaState.QUARANTINED:
                    await self.update(state=HostReplicaState.QUARANTINED, message=doubt)
                await asyncio.sleep(QUARANTINE_POLL_S)
            if self.exit is None:
                self.exit = await end
        finally:
            end.cancel()

    async def _await_memory(self) -> None:
        """A device that keeps its memory is no longer offered, and the replica says who holds it."""
        ledger = self.host.ledger
        busy = await ending.memory_back(ledger, self.record.devices)
        if busy is not None:
            ledger.set_ill(self.record.devices)
            self.host.board.put_capacity(ledger.capacity)
            await self.update(message=busy)
            self.log.error("device_memory_not_back", message=busy)

    def _is_overdue(self) -> bool:
        """True when it has not served in the time that a start may take, as far as this process has seen."""
        starts = self.record.state is not HostReplicaState.SERVING and self.record.drain_until is None
        return starts and asyncio.get_running_loop().time() - self._begun_at >= self.record.start.start_timeout_s
