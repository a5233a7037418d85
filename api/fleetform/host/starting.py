"""The steps of a start: an address, a process that is recorded before it runs, and the proof that it serves what was asked for."""

import asyncio
import math
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from fleetform.domain.replica import Address, FailureReason, Loopback, Unix
from fleetform.host import probe, processes, records
from fleetform.host.engines.base import Adapter, Launch, clean_environment
from fleetform.host.launcher import launch
from fleetform.host.layout import Layout
from fleetform.host.probe import NotServing
from fleetform.host.processes import Identity
from fleetform.host.record import ReplicaRecord
from fleetform.steps import Step, step


def choose_address(layout: Layout, adapter: Adapter, replica_id: str) -> Address:
    """Where the engine will listen: its socket, or a loopback port that is free now."""
    if not adapter.on_port:
        return Unix(path=str(layout.socket(replica_id)))
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return Loopback(port=chosen.getsockname()[1])


def spawn(layout: Layout, adapter: Adapter, record: ReplicaRecord, model_dir: Path, on_process: Callable[[Identity], None]) -> Identity:
    """Start the engine of record, which has an address; on_process puts its process on disk before it runs. Blocks; OSError."""
    replica_id = record.replica_id
    plan = _plan(layout, record, model_dir)
    work = layout.work(replica_id)
    with records.locked(layout.lock_of(replica_id)) as ours:
        if not ours:
            raise OSError("another process is starting this replica")
        for directory in (work, plan.scratch):
            records.private_directory(directory)
        if isinstance(plan.address, Unix):
            # A socket left by a dead engine makes the next one fail with "Address already in use".
            Path(plan.address.path).unlink(missing_ok=True)
        env = clean_environment(plan) | adapter.env(plan)
        step(Step.SPAWN_BEFORE)
        identity = launch(adapter.argv(plan), env, work, layout.log(replica_id), on_process, confined=True)
        step(Step.SPAWNED)
        return identity


async def prove(
    layout: Layout, adapter: Adapter, record: ReplicaRecord, identity: Identity, on_canary: Callable[[], Awaitable[None]]
) -> None:
    """Return once the engine has proved itself, however long that takes; NotServing when it is somebody else or does not work."""
    start, address = record.start, record.address
    assert address is not None
    async with probe.client(address) as http:
        await probe.until_up(http, adapter.health_path)
        members = processes.group(identity, layout.work(record.replica_id)).ours
        pid = await asyncio.to_thread(probe.listener, address, members)
        if pid not in {member.pid for member in members}:
            who = f"process {pid}" if pid is not None else "a process that is not of this replica"
            raise NotServing(FailureReason.WRONG_MODEL, f"{who} answers at the engine's address")
        if not adapter.speaks_openai:
            return
        await on_canary()
        step(Step.CANARY_BEFORE)
        await probe.check_names(http, start.served_name, f"ff-{start.nonce}")
        await probe.check_canary(http, start.served_name, start.track.manifest.task)
        step(Step.CANARY_PASSED)


def _plan(layout: Layout, record: ReplicaRecord, model_dir: Path) -> Launch:
    start = record.start
    assert record.address is not None
    cores = len(os.sched_getaffinity(0))
    return Launch(
        served_name=start.served_name,
        nonce=start.nonce,
        track=start.track,
        model_dir=model_dir,
        address=record.address,
        devices=record.devices,
        scratch=layout.scratch(record.replica_id),
        cache=layout.engine_cache,
        cpu_threads=max(1, min(cores, math.ceil(start.track.shape.cpu_millis / 1000))),
        start_timeout_s=start.start_timeout_s,
    )
