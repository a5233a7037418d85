"""The life of one replica on this host: fetch, launch, prove, serve; drain, end, clean up. Each step is on disk before the next."""

import asyncio
import contextlib
import math
import os
import shutil
import socket
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog

from fleetform.domain.model import Manifest
from fleetform.domain.protocol import HostReplicaState, StopReplica, VerifyArtifact
from fleetform.domain.replica import Address, FailureReason, Loopback, Unix
from fleetform.errors import AppError, ArtifactRefused, CacheFull, TemporaryError
from fleetform.host import logs, oom, probe, processes, records
from fleetform.host.board import Board
from fleetform.host.engines import adapter_for
from fleetform.host.engines.base import SHUTDOWN_TIMEOUT_S, Adapter, Launch, clean_environment
from fleetform.host.exits import Exit, ended
from fleetform.host.launcher import launch
from fleetform.host.layout import Layout
from fleetform.host.ledger import Ledger
from fleetform.host.probe import NotServing
from fleetform.host.processes import Identity
from fleetform.host.record import ReplicaRecord, domain_identity, in_phase, save, utc_now, without_running
from fleetform.redaction import redact

LOG_TAIL_LINES = 50
KILL_AFTER_S = SHUTDOWN_TIMEOUT_S + 5
DRAIN_POLL_S = 0.25
FETCH_RETRY_S = 5.0
MEMORY_BACK_WAIT_S = 30.0
QUARANTINE_POLL_S = 5.0

log = structlog.get_logger(__name__)


class Artifacts(Protocol):
    """What is needed of the artifact cache; `host.artifacts` says what each does and raises."""

    async def verify(self, command: VerifyArtifact, on_progress: Callable[[str, int, int], None]) -> Manifest: ...

    async def ensure(
        self,
        manifest: Manifest,
        artifact: str,
        prefixes: tuple[str, ...],
        on_progress: Callable[[str, int, int], None],
        *,
        convert: bool = True,
    ) -> Path: ...

    def pin(self, digest: str, holder: str) -> None: ...

    def unpin(self, digest: str, holder: str) -> None: ...


class Proxy(Protocol):
    """What is needed of the gateway's feed on this host."""

    async def in_flight(self, key: str, replica_ids: Iterable[str]) -> dict[str, int]: ...

    def alive(self) -> bool: ...


class Host(NamedTuple):
    """What every replica of this host shares."""

    layout: Layout
    board: Board
    ledger: Ledger
    artifacts: Artifacts
    proxy: Proxy


class Failed(Exception):
    """The replica cannot serve, or serves no longer."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Replica:
    """One replica, and the task that lives its life. The task may be cancelled at any line and begun again from the record."""

    def __init__(self, host: Host, record: ReplicaRecord) -> None:
        self.host = host
        self.record = record
        self.adapter: Adapter = adapter_for(record.start.track)
        self.task: asyncio.Task[None] | None = None
        self.log = log.bind(replica=record.replica_id, endpoint=record.route_key, generation=record.start.generation)

    @property
    def exited(self) -> bool:
        return self.record.state is HostReplicaState.EXITED

    @property
    def stopping(self) -> bool:
        """True when there is nothing left to stop, or that has begun."""
        return self.exited or self.record.drain_until is not None

    def begin(self) -> None:
        """Go on from where the record stands."""
        self._show()
        if not self.exited:
            self.task = asyncio.create_task(self._live(), name=f"replica {self.record.replica_id}")

    async def let_go(self) -> None:
        """Stop looking after it; whatever runs goes on running."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})

    async def stop(self, command: StopReplica) -> None:
        """Begin to stop it. A replica that is already being stopped, or has ended, is left to it."""
        if self.stopping:
            return
        await self.let_go()
        if not self.exited:
            wait_s = command.drain_timeout_s if self.record.state is HostReplicaState.SERVING else 0
            await self._update(state=HostReplicaState.STOPPING, drain_until=utc_now() + timedelta(seconds=wait_s))
        self.begin()

    async def _live(self) -> None:
        try:
            if self.record.failure is None and self.record.drain_until is None:
                await self._run()
            elif self.record.failure is None:
                await self._drain()
        except (Failed, NotServing) as failed:
            await self._failed(failed.reason, failed.message)
        except Exception as error:
            self.log.exception("looking after a replica went wrong")
            await self._failed(FailureReason.LAUNCH_REFUSED, f"the host could not go on: {type(error).__name__}")
        await self._finish()

    async def _run(self) -> None:
        """Until it ends, which is always a Failed: a replica that is stopped has its task cancelled."""
        identity = self.record.identity
        if identity is None:
            identity = await self._launch(await self._fetch())
        if identity.boot_id != processes.boot_id():
            raise Failed(FailureReason.HOST_LOST, "the machine was started anew")
        end = asyncio.ensure_future(ended(identity, self.host.layout.exits))
        try:
            if self.record.state is not HostReplicaState.SERVING:
                await self._prove(identity, end)
            raise self._crashed(await end)
        finally:
            end.cancel()

    # fetch

    async def _fetch(self) -> Path:
        """The verified files. A source that is away is tried again until the start has taken too long."""
        start = self.record.start
        track = start.track
        holder = self.record.replica_id
        await self._enter("fetch", state=HostReplicaState.FETCHING)
        deadline = self._started_at("fetch") + timedelta(seconds=start.start_timeout_s)
        self.host.artifacts.pin(track.manifest.digest, holder)
        convert = track.command is None
        while True:
            try:
                return await self.host.artifacts.ensure(track.manifest, track.artifact, start.prefixes, self._progress, convert=convert)
            except ArtifactRefused as error:
                raise Failed(_artifact_reason(error), error.message) from error
            except CacheFull as error:
                raise Failed(FailureReason.CACHE_FULL, error.message) from error
            except TemporaryError as error:
                if utc_now() >= deadline:
                    raise Failed(FailureReason.ARTIFACT_MISSING, error.message) from error
                self.log.warning("the artifact cannot be fetched yet", reason=error.reason, message=error.message)
                await asyncio.sleep(FETCH_RETRY_S)

    def _progress(self, phase: str, done: int, total: int) -> None:
        phases = in_phase(self.record.phases, phase, utc_now(), done, total or None)
        self.record = msgspec.structs.replace(self.record, phases=phases)
        self._show()

    # launch

    async def _launch(self, model_dir: Path) -> Identity:
        busy = await self.host.ledger.busy(self.record.devices)
        if busy is not None:
            raise Failed(FailureReason.LAUNCH_REFUSED, busy)
        await self._enter("launch", state=HostReplicaState.STARTING, address=self._address(), oom_kills=oom.kills())
        spawning = asyncio.ensure_future(asyncio.to_thread(self._spawn, self._plan(model_dir)))
        try:
            identity = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            # The thread cannot be stopped half-way; what it started is in the record by the time it is done.
            await asyncio.wait({spawning})
            raise
        except OSError as error:
            raise Failed(FailureReason.LAUNCH_REFUSED, f"the engine cannot be started: {error}") from error
        self._show()
        self.log.info("engine launched", pid=identity.pid)
        return identity

    def _plan(self, model_dir: Path) -> Launch:
        start, layout = self.record.start, self.host.layout
        assert self.record.address is not None
        cores = len(os.sched_getaffinity(0))
        return Launch(
            served_name=start.served_name,
            nonce=start.nonce,
            track=start.track,
            model_dir=model_dir,
            address=self.record.address,
            devices=self.record.devices,
            scratch=layout.scratch(self.record.replica_id),
            cache=layout.engine_cache,
            cpu_threads=max(1, min(cores, math.ceil(start.track.shape.cpu_millis / 1000))),
            start_timeout_s=start.start_timeout_s,
        )

    def _spawn(self, plan: Launch) -> Identity:
        """Runs in a thread. OSError when the engine cannot be started."""
        layout, replica_id = self.host.layout, self.record.replica_id
        with records.locked(layout.lock_of(replica_id)) as ours:
            if not ours:
                raise OSError("another process is starting this replica")
            for directory in (layout.work(replica_id), plan.scratch):
                records.private_directory(directory)
            if isinstance(plan.address, Unix):
                Path(plan.address.path).unlink(missing_ok=True)
            env = clean_environment(plan) | self.adapter.env(plan)
            return launch(
                self.adapter.argv(plan), env, layout.work(replica_id), layout.log(replica_id), self._record_process, confined=True
            )

    def _record_process(self, identity: Identity) -> None:
        self.record = msgspec.structs.replace(self.record, process=domain_identity(identity))
        save(self.host.layout, self.record)

    def _address(self) -> Address:
        if not self.adapter.on_port:
            return Unix(path=str(self.host.layout.socket(self.record.replica_id)))
        with socket.socket() as chosen:
            chosen.bind(("127.0.0.1", 0))
            return Loopback(port=chosen.getsockname()[1])

    # prove

    async def _prove(self, identity: Identity, end: "asyncio.Future[Exit]") -> None:
        """Until it has proved that it serves what was asked for. Failed when it ends, takes too long, or is somebody else."""
        limit_s = self.record.start.start_timeout_s
        remaining = (self._started_at("launch") + timedelta(seconds=limit_s) - utc_now()).total_seconds()
        proof = asyncio.ensure_future(self._proof(identity))
        try:
            tasks: set[asyncio.Future[Any]] = {proof, end}
            done, _ = await asyncio.wait(tasks, timeout=max(0.0, remaining), return_when=asyncio.FIRST_COMPLETED)
        finally:
            proof.cancel()
        if end in done:
            raise self._crashed(end.result())
        if proof not in done:
            raise Failed(FailureReason.START_TIMEOUT, f"the engine was not ready within {limit_s} s")
        proof.result()
        now = utc_now()
        await self._update(state=HostReplicaState.SERVING, phases=without_running(self.record.phases, now))
        self.log.info("replica serves", seconds=round((now - self._started_at("launch")).total_seconds(), 1))

    async def _proof(self, identity: Identity) -> None:
        start, address = self.record.start, self.record.address
        assert address is not None
        async with probe.client(address) as http:
            await probe.until_up(http, self.adapter.health_path)
            await self._check_listener(identity, address)
            if not self.adapter.speaks_openai:
                return
            await self._enter("canary")
            await probe.check_names(http, start.served_name, f"ff-{start.nonce}")
            await probe.check_canary(http, start.served_name, start.track.manifest.task)

    async def _check_listener(self, identity: Identity, address: Address) -> None:
        members = processes.group(identity, self.host.layout.work(self.record.replica_id)).ours
        pid = await asyncio.to_thread(probe.listener, address, members)
        if pid is None or pid not in {member.pid for member in members}:
            who = f"process {pid}" if pid is not None else "a process that is not of this replica"
            raise Failed(FailureReason.WRONG_MODEL, f"{who} answers at the engine's address")

    # end

    def _crashed(self, exit_: Exit) -> Failed:
        tail = logs.tail(self.host.layout.log(self.record.replica_id), LOG_TAIL_LINES)
        self.record = msgspec.structs.replace(self.record, exit_code=exit_.code)
        if oom.is_evidence(self.record.oom_kills, oom.kills(), exit_.signal, exit_.code, tail):
            return Failed(FailureReason.OOM_KILLED, f"the engine {exit_}; the kernel ran out of memory")
        return Failed(FailureReason.CRASHED, f"the engine {exit_}")

    async def _failed(self, reason: FailureReason, message: str) -> None:
        tail = logs.tail(self.host.layout.log(self.record.replica_id), LOG_TAIL_LINES)
        await self._update(failure=reason, message=redact(message), log_tail=tail)
        self.log.warning("replica failed", reason=reason.value, message=self.record.message)

    async def _drain(self) -> None:
        """Until the proxy has nothing under way to it, seen twice, or the time for that is over."""
        assert self.record.drain_until is not None
        quiet = 0
        while quiet < 2 and utc_now() < self.record.drain_until:
            quiet = quiet + 1 if not await self._busy_at_proxy() else 0
            await asyncio.sleep(DRAIN_POLL_S)

    async def _busy_at_proxy(self) -> bool:
        if not self.host.proxy.alive():
            return False
        try:
            found = await self.host.proxy.in_flight(self.record.route_key, [self.record.replica_id])
        except OSError:
            return True  # a proxy that does not say counts as busy: better to wait than to cut
        return found.get(self.record.replica_id, 0) > 0

    async def _finish(self) -> None:
        """The whole group gone, device memory back, socket and scratch removed; then it is `exited`."""
        layout, replica_id, identity = self.host.layout, self.record.replica_id, self.record.identity
        if identity is not None:
            await self._end_group(identity)
            await self._await_memory()
        await asyncio.to_thread(_clean, layout, replica_id)
        self.host.artifacts.unpin(self.record.start.track.manifest.digest, replica_id)
        await self._update(state=HostReplicaState.EXITED, phases=without_running(self.record.phases, utc_now()))
        self.log.info("replica exited", exit_code=self.record.exit_code, failure=self.record.failure)

    async def _end_group(self, identity: Identity) -> None:
        work = self.host.layout.work(self.record.replica_id)
        end = asyncio.ensure_future(ended(identity, self.host.layout.exits))
        try:
            await asyncio.to_thread(processes.end_group, identity, work, KILL_AFTER_S)
            while doubtful := processes.group(identity, work).doubtful:
                pids = ", ".join(str(member.pid) for member in doubtful)
                message = f"processes {pids} are in the session of this replica, but nothing proves that they are its own; end them by hand"
                if self.record.state is not HostReplicaState.QUARANTINED:
                    await self._update(state=HostReplicaState.QUARANTINED, message=message)
                await asyncio.sleep(QUARANTINE_POLL_S)
            exit_ = await end
        finally:
            end.cancel()
        if self.record.exit_code is None:
            self.record = msgspec.structs.replace(self.record, exit_code=exit_.code)

    async def _await_memory(self) -> None:
        """Until the devices' memory is back; a device that keeps it is no longer offered, and says who holds it."""
        ledger, loop = self.host.ledger, asyncio.get_running_loop()
        deadline = loop.time() + MEMORY_BACK_WAIT_S
        while (busy := await ledger.busy(self.record.devices)) is not None:
            if loop.time() >= deadline:
                self.log.error("device memory did not come back", message=busy)
                self.host.ledger.set_ill(self.record.devices)
                self.host.board.put_capacity(ledger.capacity)
                await self._update(message=busy)
                return
            await asyncio.sleep(1)

    # record

    async def _enter(self, phase: str, **changes: Any) -> None:
        await self._update(phases=in_phase(self.record.phases, phase, utc_now()), **changes)

    async def _update(self, **changes: Any) -> None:
        self.record = msgspec.structs.replace(self.record, **changes)
        await asyncio.to_thread(save, self.host.layout, self.record)
        self._show()

    def _show(self) -> None:
        self.host.board.put_replica(self.record.shown())

    def _started_at(self, phase: str) -> datetime:
        return next((p.started_at for p in self.record.phases if p.name == phase), utc_now())


def _clean(layout: Layout, replica_id: str) -> None:
    """Remove what the replica had here, but for its record and its log."""
    for file in (layout.socket(replica_id), layout.lock_of(replica_id)):
        file.unlink(missing_ok=True)
    for directory in (layout.scratch(replica_id), layout.work(replica_id)):
        shutil.rmtree(directory, ignore_errors=True)


def _artifact_reason(error: AppError) -> FailureReason:
    with contextlib.suppress(ValueError):
        return FailureReason(error.details.get("condition_reason", ""))
    return FailureReason.LAUNCH_REFUSED
