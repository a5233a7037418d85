"""CRIU, the program that puts processes on disk and takes them from there, and whether it can do so on this machine."""

import asyncio
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fleetform.host.processes import boot_id, pid_namespace

CHECK_S = 30.0
PLACES = "/usr/local/sbin:/usr/sbin"
"""Where it lies, beside PATH, which often has no directory of administrators."""
PLUGIN = "cuda_plugin.so"
PLUGIN_PLACES = ("lib/criu", "lib64/criu", "lib/x86_64-linux-gnu/criu", "lib/aarch64-linux-gnu/criu", "libexec/criu")
DRIVER = Path("/proc/driver/nvidia/version")
CPU_LINES = ("model name", "flags", "microcode", "Features", "CPU implementer", "CPU part")
COMMON = ("--file-locks", "--link-remap", "-v2")
"""Files that are locked, and files whose name is gone, are put on disk and taken from there with the processes.

Nothing is said of TCP connections: an engine that has one is not put on disk, since nobody is at its other end later.
"""
GHOST_LIMIT = "64M"
PIDFILE, DUMP_LOG, RESTORE_LOG = "leader.pid", "dump.log", "restore.log"


class Criu(NamedTuple):
    """One that works here. plugins: the folder of its CUDA plugin, on a machine with devices. stamp: size and time of the program."""

    program: str
    version: str
    plugins: str = ""
    stamp: tuple[int, int] = (0, 0)

    def dump(self, pid: int, images: Path, work: Path) -> tuple[str, ...]:
        """Put pid and all that descends from it into images; it has ended then. Where that fails, it runs on. work: for its log."""
        where = ("-t", str(pid), "-D", str(images), "-W", str(work), "-o", DUMP_LOG, "--ghost-limit", GHOST_LIMIT)
        return (self.program, "dump", *where, *COMMON, *self._plugins)

    def restore(self, images: Path, work: Path) -> tuple[str, ...]:
        """Take them from images. They are nobody's children then; PIDFILE in work has the pid of the first.

        work: where they worked. CRIU works there too, and so does all that it begins, from its first moment.
        """
        where = ("-D", str(images), "-W", str(work), "-o", RESTORE_LOG, "--restore-detached", "--pidfile", str(work / PIDFILE))
        return (self.program, "restore", *where, *COMMON, *self._plugins)

    @property
    def _plugins(self) -> tuple[str, ...]:
        return ("--libdir", self.plugins) if self.plugins else ()


async def find(*, has_devices: bool) -> Criu | str:
    """The one of this machine, or why none can be used, in words."""
    program = shutil.which("criu") or shutil.which("criu", path=PLACES)
    if program is None:
        return "criu is not installed"
    if os.geteuid() != 0:
        return "criu needs root"
    code, said = await _run(program, "check")
    if code != 0:
        return f"criu cannot checkpoint here: {last_error(said.splitlines())}"
    _, version = await _run(program, "--version")
    found = Criu(program, " ".join(version.split()), stamp=_stamp(program))
    if not has_devices:
        return found
    if shutil.which("cuda-checkpoint") is None:
        return "cuda-checkpoint is not installed"
    plugins = await asyncio.to_thread(_plugins_of, program)
    return found._replace(plugins=plugins) if plugins else "criu has no CUDA plugin"


def machine(criu: Criu) -> tuple[object, ...]:
    """All of the machine that must be the same when processes are taken from disk.

    The boot is, because clocks begin anew with it and other processes have the pids; so are the kernel, the processor with what it
    offers, the driver, and CRIU.
    """
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = sorted({line for line in lines if line.startswith(CPU_LINES)})
    driver = DRIVER.read_text() if DRIVER.exists() else ""
    kernel = os.uname()
    cores = len(os.sched_getaffinity(0))
    return (boot_id(), pid_namespace(), kernel.release, kernel.version, kernel.machine, cpu, cores, driver, *criu, _stamp(criu.program))


def last_error(lines: Iterable[str]) -> str:
    """The last line that tells of an error, or the last."""
    found = [line.strip() for line in lines if line.strip()]
    return next((line for line in reversed(found) if "Error" in line), found[-1] if found else "it says nothing")


def _plugins_of(program: str) -> str:
    root = Path(program).resolve().parents[1]
    return next((str(root / place) for place in PLUGIN_PLACES if (root / place / PLUGIN).is_file()), "")


def _stamp(program: str) -> tuple[int, int]:
    try:
        stat = Path(program).stat()
    except OSError:
        return (0, 0)
    return (stat.st_size, stat.st_mtime_ns)


async def _run(*argv: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(CHECK_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return 124, f"no answer in {CHECK_S:g} s"
    return process.returncode or 0, output.decode("utf-8", "replace")
