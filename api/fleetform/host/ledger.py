"""What this machine has: cores, memory, and devices by UUID; and whether a device's memory is back.

Devices are read with `nvidia-smi`, which every NVIDIA driver brings. Indices stay on this machine: everybody else speaks of UUIDs.
"""

import asyncio
import contextlib
import csv
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from fleetform.domain.machine import Device, HostCapacity
from fleetform.errors import SetupError

CPU_OVERCOMMIT = 4
MEMORY_KEPT_MIB = 512
"""Left to the machine itself when memory_mib is not set."""
MEMORY_BACK_TOLERANCE_MIB = 512
WARM_POOL_PART = 4
"""Sleeping engines may have a quarter of the machine's memory, unless another number is set."""
QUERY = "uuid,name,memory.total,memory.free,index,mig.mode.current"
QUERY_TIMEOUT_S = 20.0
_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))

log = structlog.get_logger(__name__)


class Ledger:
    """The capacity of this host. Read once at start; a device's idle memory is what it had when nothing of ours ran on it.

    warm_pool_mib: memory of the host for engines that sleep. asleep_mib: device → what those keep there, which nobody waits for.
    """

    def __init__(self, capacity: HostCapacity, nvidia_smi: str | None, warm_pool_mib: int = 0) -> None:
        self.capacity = capacity
        self.nvidia_smi = nvidia_smi
        self.warm_pool_mib = warm_pool_mib
        self.asleep_mib: dict[str, int] = {}

    async def memory_free(self, uuids: Sequence[str]) -> dict[str, int]:
        """Free memory of those devices now, in MiB; a device that cannot be read is missing."""
        if not uuids or self.nvidia_smi is None:
            return {}
        devices = parse_devices(await _run(self.nvidia_smi, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"))
        return {device.uuid: device.memory_free_idle_mib for device in devices if device.uuid in uuids}

    async def holders(self, uuids: Sequence[str]) -> tuple[int, ...]:
        """The pids that hold memory on those devices."""
        if not uuids or self.nvidia_smi is None:
            return ()
        text = await _run(self.nvidia_smi, "--query-compute-apps=gpu_uuid,pid", "--format=csv,noheader,nounits")
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines())]
        return tuple(int(row[1]) for row in rows if len(row) == 2 and row[0] in uuids and row[1].isdigit())

    async def busy(self, uuids: Sequence[str]) -> str | None:
        """Why those devices are not free yet, or None when their memory is back near what it was when idle."""
        missing = set(uuids) - {device.uuid for device in self.capacity.devices}
        if missing:
            return f"this host has no device {', '.join(sorted(missing))}"
        free = await self.memory_free(uuids)
        for device in self.capacity.devices:
            if device.uuid not in uuids:
                continue
            if device.uuid not in free:
                return f"device {device.uuid} does not answer"
            wanted = device.memory_free_idle_mib - MEMORY_BACK_TOLERANCE_MIB - self.asleep_mib.get(device.uuid, 0)
            if free[device.uuid] < wanted:
                pids = ", ".join(map(str, await self.holders(uuids))) or "no process that is shown"
                return (
                    f"device {device.uuid} has {free[device.uuid]} MiB free of {device.memory_free_idle_mib} MiB when idle; held by {pids}"
                )
        return None

    async def residue(self, uuids: Sequence[str]) -> dict[str, int]:
        """Device → MiB that are missing of its idle memory beyond what sleeps there; all of it for one that does not answer."""
        free = await self.memory_free(uuids)
        idle = {device.uuid: device.memory_free_idle_mib for device in self.capacity.devices}
        return {uuid: max(0, idle.get(uuid, 0) - free.get(uuid, 0) - self.asleep_mib.get(uuid, 0)) for uuid in uuids}

    def set_ill(self, uuids: Sequence[str]) -> None:
        """Offer those devices no longer: their memory is held by something that is not ours to end."""
        devices = tuple(msgspec.structs.replace(d, healthy=d.healthy and d.uuid not in uuids) for d in self.capacity.devices)
        self.capacity = msgspec.structs.replace(self.capacity, devices=devices)

    async def recover(self) -> bool:
        """Offer ill devices again whose memory has come back; True when there were some."""
        ill = [device for device in self.capacity.devices if not device.healthy]
        back = {device.uuid for device in ill if await self.busy([device.uuid]) is None}
        devices = tuple(msgspec.structs.replace(d, healthy=d.healthy or d.uuid in back) for d in self.capacity.devices)
        self.capacity = msgspec.structs.replace(self.capacity, devices=devices)
        return bool(back)


async def discover(
    host: str, cpu_millis: int | None, memory_mib: int | None, idle: dict[str, int], warm_pool_mib: int | None = None
) -> Ledger:
    """The ledger of this machine; cpu_millis and memory_mib override what it has.

    warm_pool_mib: memory for engines that sleep, None: a quarter of the machine's; none without a device. It is not offered, unless
    memory_mib says what is. idle: device UUID → idle free memory known from before, while engines of ours hold some of it now.
    SetupError for MIG.
    """
    nvidia_smi = shutil.which("nvidia-smi")
    devices: tuple[Device, ...] = ()
    if nvidia_smi is not None:
        found = parse_devices(await _run(nvidia_smi, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"))
        devices = tuple(_with_idle(device, idle) for device in found)
    machine_mib = _machine_memory_mib()
    pool_mib = (machine_mib // WARM_POOL_PART if warm_pool_mib is None else warm_pool_mib) if devices else 0
    capacity = HostCapacity(
        host=host,
        cpu_millis=cpu_millis or len(os.sched_getaffinity(0)) * 1000 * CPU_OVERCOMMIT,
        memory_mib=memory_mib or max(1, machine_mib - MEMORY_KEPT_MIB - pool_mib),
        devices=devices,
    )
    return Ledger(capacity, nvidia_smi, pool_mib)


def parse_devices(text: str) -> tuple[Device, ...]:
    """The answer to QUERY as devices. SetupError when one of them is split by MIG, which vLLM maps through an index."""
    devices = []
    for row in csv.reader(text.splitlines()):
        cells = [cell.strip() for cell in row]
        if len(cells) != 6 or not cells[0].startswith("GPU-"):
            continue
        uuid, name, total, free, index, mig = cells
        if not (total.isdigit() and free.isdigit() and index.isdigit()):
            # A device that has fallen off the bus, or one that shares the machine's memory, says "[N/A]".
            log.warning("device_not_offered", device=uuid, reason=f"its memory is told as {total!r}, of which {free!r} are free")
            continue
        if mig.lower() == "enabled":
            raise SetupError(
                f"device {uuid} ({name}) is split by MIG, which is not supported; turn it off with `nvidia-smi -i {index} -mig 0`"
            )
        devices.append(Device(uuid=uuid, kind=kind_of(name), memory_mib=int(total), memory_free_idle_mib=int(free), index=int(index)))
    return tuple(devices)


def kind_of(name: str) -> str:
    """A device's product name as an accelerator kind: `NVIDIA A10` → `a10`, `NVIDIA H100 80GB HBM3` → `h100`."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    useful = [word for word in words if word not in ("nvidia", "tesla", "geforce", "quadro", "graphics", "device")]
    if useful[:1] == ["rtx"] or useful[:1] == ["gtx"]:
        return "-".join(useful[:2])
    return useful[0] if useful else "gpu"


def _with_idle(device: Device, idle: dict[str, int]) -> Device:
    known = max(idle.get(device.uuid, 0), device.memory_free_idle_mib)
    return msgspec.structs.replace(device, memory_free_idle_mib=known)


def _machine_memory_mib() -> int:
    """Physical memory, or the limit of our control group when that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    for path in _MEMORY_LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text) // 2**20)
    return total


async def _run(*argv: str) -> str:
    """The output of a program, or nothing when it fails or hangs: a broken driver must not stop what runs without it."""
    try:
        process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
    except OSError as error:
        log.warning("device_query_not_started", program=argv[0], error=str(error))
        return ""
    try:
        async with asyncio.timeout(QUERY_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        # Not waited for: inside a driver that hangs, not even SIGKILL ends it. asyncio collects it when it does end.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        log.warning("device_query_timed_out", program=argv[0])
        return ""
    if process.returncode != 0:
        log.warning("device_query_failed", program=argv[0], exit_code=process.returncode)
        return ""
    return output.decode("utf-8", "replace")
