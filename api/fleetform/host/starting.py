"""The steps of a start: an address, a process that is recorded before it runs, and the proof that it serves what was asked for."""

import asyncio
import contextlib
import math
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from fleetform.domain.replica import Address, FailureReason, Loopback, Unix
from fleetform.host import fit, gate, probe, processes, records
from fleetform.host.engines import compiled
from fleetform.host.engines.base import Adapter, Launch, clean_environment
from fleetform.host.launcher import launch
from fleetform.host.layout import Layout
from fleetform.host.probe import NotServing
from fleetform.host.processes import Identity
from fleetform.host.record import ReplicaRecord
from fleetform.host.zygote import client as zygote
from fleetform.steps import Step, step

Spawn = Callable[[Layout, Adapter, ReplicaRecord, Path, Callable[[Identity], None]], Identity]


def choose_address(layout: Layout, adapter: Adapter, replica_id: str) -> Address:
    """Where the engine will listen: its socket, or a loopback port that is free now."""
    if not adapter.on_port:
        return Unix(path=str(layout.socket(replica_id)))
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return Loopback(port=chosen.getsockname()[1])


def spawn(layout: Layout, adapter: Adapter, record: ReplicaRecord, model_dir: Path, on_process: Callable[[Identity], None]) -> Identity:
    """Start the engine of record, which has an address; on_process puts its process on disk before it runs. Blocks; OSError."""
    with _prepared(layout, record, model_dir) as plan:
        env = clean_environment(plan) | adapter.env(plan)
        work, log = layout.work(record.replica_id), layout.log(record.replica_id)
        step(Step.SPAWN_BEFORE)
        identity = launch(adapter.argv(plan), env, work, log, on_process, mode=_mode(record))
        step(Step.SPAWNED)
        return identity


def fork(layout: Layout, adapter: Adapter, record: ReplicaRecord, model_dir: Path, on_process: Callable[[Identity], None]) -> Identity:
    """`spawn` by a fork of this machine's zygote, for an adapter that forks; NotForked when nothing was started."""
    with _prepared(layout, record, model_dir) as plan:
        env = clean_environment(plan) | adapter.env(plan)
        work, log = layout.work(record.replica_id), layout.log(record.replica_id)
        step(Step.SPAWN_BEFORE)
        # Without `python -m`: the zygote is the interpreter, and the module is what it has imported.
        identity = zygote.fork(layout.zygote, adapter.argv(plan)[2:], env, work, log, on_process, mode=_mode(record))
        step(Step.SPAWNED)
        return identity


async def prove(
    layout: Layout, adapter: Adapter, record: ReplicaRecord, identity: Identity, on_phase: Callable[[str], Awaitable[None]]
) -> None:
    """Return once the engine has proved itself, however long that takes; NotServing when it is somebody else or does not work.

    on_phase is told of `warm-up` and `canary` before they begin.
    """
    start, address = record.start, record.address
    assert address is not None
    async with probe.client(address) as http:
        await probe.until_up(http, adapter.health_path)
        members = (await asyncio.to_thread(processes.group, identity, layout.work(record.engine_id))).ours
        pid = await asyncio.to_thread(probe.listener, address, members)
        if pid not in {member.pid for member in members}:
            who = f"process {pid}" if pid is not None else "a process that is not of this replica"
            raise NotServing(FailureReason.WRONG_MODEL, f"{who} answers at the engine's address")
        if not adapter.speaks_openai:
            return
        await probe.check_names(http, start.served_name, record.instance)
        if adapter.forks and not record.woken_id:
            # What an engine does for the first time it does slowly: here, and not for the first client.
            await on_phase("warm-up")
            await probe.warm_up(http, start.served_name, start.track.manifest.task)
        await on_phase("canary")
        step(Step.CANARY_BEFORE)
        await probe.check_canary(http, start.served_name, start.track.manifest.task)
        if record.expects:
            await probe.check_answer(http, start.served_name, start.track.manifest.task, record.expects)
        step(Step.CANARY_PASSED)


@contextlib.contextmanager
def _prepared(layout: Layout, record: ReplicaRecord, model_dir: Path) -> Iterator[Launch]:
    """What the engine is started with, its directories made and its socket's path free, under the replica's lock. OSError: it is held."""
    plan = _plan(layout, record, model_dir)
    with records.locked(layout.lock_of(record.replica_id)) as ours:
        if not ours:
            raise OSError("another process is starting this replica")
        for directory in (layout.work(record.replica_id), plan.scratch, layout.logs, layout.engine_cache):
            records.private_directory(directory)
        if record.start.track.command is None:
            compiled.take(plan.compiled)
        if isinstance(plan.address, Unix):
            # A socket left by a dead engine makes the next one fail with "Address already in use".
            Path(plan.address.path).unlink(missing_ok=True)
        yield plan


def _mode(record: ReplicaRecord) -> str:
    return gate.SNAPSHOT if record.freezes else gate.CONFINED


def _plan(layout: Layout, record: ReplicaRecord, model_dir: Path) -> Launch:
    start, track = record.start, record.start.track
    assert record.address is not None
    cores = len(os.sched_getaffinity(0))
    return Launch(
        served_name=start.served_name,
        nonce=start.nonce,
        track=track,
        model_dir=model_dir,
        address=record.address,
        devices=record.devices,
        scratch=layout.scratch(record.replica_id),
        cache=layout.engine_cache,
        compiled=compiled.folder(layout.engine_cache, fit.installed().vllm or "", track.shape.accelerator or "cpu", track.manifest.digest),
        cpu_threads=max(1, min(cores, math.ceil(track.shape.cpu_millis / 1000))),
        start_timeout_s=start.start_timeout_s,
        sleeps=bool(record.fingerprint and record.devices),
    )
