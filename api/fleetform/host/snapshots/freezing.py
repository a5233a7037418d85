"""An engine is put on disk: it has answered what is always asked, it forgets the rest, nobody is connected to it, and it is gone."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

from fleetform.domain.replica import Unix
from fleetform.host import gate, memory, probe, processes
from fleetform.host.engines.base import mark
from fleetform.host.exits import ended, gone
from fleetform.host.launcher import launch
from fleetform.host.layout import Layout
from fleetform.host.pool import asking
from fleetform.host.pool.asking import Refused
from fleetform.host.probe import NotServing
from fleetform.host.processes import Identity
from fleetform.host.record import ReplicaRecord, domain_identity, utc_now
from fleetform.host.snapshots import criu as program
from fleetform.host.snapshots import image, shared
from fleetform.host.snapshots.criu import Criu
from fleetform.host.snapshots.image import Frozen, Making
from fleetform.host.threads import patiently, to_its_end
from fleetform.steps import Step, step

QUIET_S = 15.0
POLL_S = 0.05
DUMP_S = 300.0
GONE_S = 10.0
CONNECTED = b"03"


async def need_mib(layout: Layout, record: ReplicaRecord) -> int:
    """MiB of the disk that an engine will take at most: what its processes have, and the weights that come from a device."""
    assert record.identity is not None
    group = await asyncio.to_thread(processes.group, record.identity, layout.work(record.engine_id))
    pids = _pids(record.identity, group.ours)
    weights = record.start.track.manifest.size_bytes // image.MIB if record.devices else 0
    return (await asyncio.to_thread(memory.memory_mib, pids) or 0) + weights


async def freeze(layout: Layout, criu: Criu, machine: str, record: ReplicaRecord) -> Frozen:
    """The engine of record, which lies on disk and has no process any more. Refused: it does not; it may run, and is to be ended."""
    identity, address = record.identity, record.address
    if identity is None or not isinstance(address, Unix) or not record.fingerprint:
        raise Refused("such an engine is not put on disk")
    folder = layout.snapshot(record.engine_id)
    step(Step.FREEZE_BEFORE)
    answer = await _last_words(record, address)
    await _until_quiet(address)
    try:
        return await _dumped(layout, criu, machine, record, identity, address, folder, answer)
    except (OSError, ValueError) as error:
        raise Refused(f"it cannot be put on disk: {error}") from error


async def _last_words(record: ReplicaRecord, address: Unix) -> str:
    """What it answers to what is always asked; afterwards it finds nothing of that, or of anything before, in a cache."""
    try:
        async with probe.client(address) as http:
            answer = await probe.answer(http, record.start.served_name, record.start.track.manifest.task)
    except (NotServing, OSError) as error:
        raise Refused(str(error)) from error
    # On a device its weights are put on disk from the host's memory, and the rest of the device's is dropped.
    await (asking.fall_asleep(address) if record.devices else asking.forget(address))
    return answer


async def _until_quiet(address: Unix) -> None:
    """Return once nobody is connected to it: there is nobody to take up a connection later. Refused."""
    deadline = asyncio.get_running_loop().time() + QUIET_S
    while await asyncio.to_thread(_is_connected, address.path):
        if asyncio.get_running_loop().time() >= deadline:
            raise Refused(f"somebody was still connected to it after {QUIET_S:g} s")
        await asyncio.sleep(POLL_S)


def _is_connected(path: str) -> bool:
    # Bytes: anybody's socket stands there, and a path need not be text.
    lines = (line.split(maxsplit=7) for line in Path("/proc/net/unix").read_bytes().splitlines()[1:])
    return any(fields[-1] == os.fsencode(path) and fields[5] == CONNECTED for fields in lines if len(fields) > 5)


async def _dumped(
    layout: Layout, criu: Criu, machine: str, record: ReplicaRecord, identity: Identity, address: Unix, folder: Path, answer: str
) -> Frozen:
    members = (await asyncio.to_thread(processes.group, identity, layout.work(record.engine_id))).ours
    pids = _pids(identity, members)
    used = await asyncio.to_thread(shared.used, pids)
    await asyncio.to_thread(image.begin, folder)

    def on_maker(maker: Identity) -> None:
        making = Making(maker=domain_identity(maker), leader=domain_identity(identity), inodes=tuple(sorted(used.inodes)))
        image.put_making(folder, making)

    argv = criu.dump(identity.pid, image.images(folder), folder)
    end = asyncio.ensure_future(gone(identity))  # it may be our child, which keeps its pid until we have collected it
    try:
        maker = await to_its_end(launch, argv, _environment(), folder, folder / "criu.log", on_maker, mode=gate.CONFINED)
        step(Step.FREEZING)
        await ran(layout, maker, folder, folder / program.DUMP_LOG, DUMP_S)
        await _until_ended(members)
        await asyncio.wait({end}, timeout=GONE_S)
    finally:
        end.cancel()
    step(Step.FROZEN)
    pieces = await to_its_end(shared.set_aside, used.inodes, image.images(folder))
    frozen = Frozen(
        engine_id=record.engine_id,
        fingerprint=record.fingerprint,
        machine=machine,
        start=record.start,
        nonce=record.woken_nonce or record.start.nonce,
        address=address,
        pids=tuple(pids),
        answer=answer,
        since=utc_now(),
        pieces=pieces,
        gone=tuple(sorted(used.gone)),
        files=await patiently(image.digests, folder),
        disk_mib=image.size_mib(folder),
    )
    await to_its_end(image.seal, folder, frozen)
    return frozen


async def ran(layout: Layout, criu: Identity, home: Path, log: Path, limit_s: float) -> None:
    """Return once criu, which works in home, has done it. Refused, with its last words."""
    end = asyncio.ensure_future(ended(criu, layout.exits))
    try:
        done, _ = await asyncio.wait({end}, timeout=limit_s)
        if not done:
            await asyncio.to_thread(processes.end_group, criu, home, 0.0, signal.SIGKILL)
            raise Refused(f"criu was not done in {limit_s:g} s")
    finally:
        end.cancel()
    if end.result().code != 0:
        said = ""
        with contextlib.suppress(OSError):
            said = await asyncio.to_thread(log.read_text, errors="replace")
        raise Refused(f"criu {end.result()}: {program.last_error(said.splitlines())}")


async def _until_ended(members: Iterable[Identity]) -> None:
    """Return once none of them lives. Refused."""
    deadline = asyncio.get_running_loop().time() + GONE_S
    while living := [member.pid for member in members if processes.alive(member)]:
        if asyncio.get_running_loop().time() >= deadline:
            raise Refused(f"its process {living[0]} lives on")
        await asyncio.sleep(POLL_S)


async def until_free(pids: list[int] | tuple[int, ...]) -> None:
    """Return once no process has one of these pids, not even one that is still to be collected. Refused."""
    deadline = asyncio.get_running_loop().time() + GONE_S
    while taken := [pid for pid in pids if processes.read_stat(pid) is not None]:
        if asyncio.get_running_loop().time() >= deadline:
            raise Refused(f"there is a process {taken[0]}")
        await asyncio.sleep(POLL_S)


def environment(scratch: Path) -> dict[str, str]:
    """Of the program that takes an engine from disk: what it begins is known by the engine's own mark before it is the engine."""
    name, _, value = mark(scratch).partition("=")
    return {**_environment(), name: value}


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath)}


def _pids(leader: Identity, members: Iterable[Identity]) -> list[int]:
    """Of its processes, the leader's first."""
    return [leader.pid, *sorted({member.pid for member in members} - {leader.pid})]
