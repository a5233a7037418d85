"""What must hold before anything is changed: each broken condition is a SetupError with its remedy.

Standard library only: `make up` asks the same questions before any package is installed.
"""

import os
import platform
import shutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fleetform.errors import SetupError
from fleetform.host import children, processes

OLDEST_PYTHON = (3, 11)
NEWEST_PYTHON = (3, 13)
_LISTEN = "0A"


class Holder(NamedTuple):
    """A process that listens on a port. pid None: another user's, which we may not see."""

    pid: int | None
    name: str


def check_platform() -> None:
    """Linux on x86-64, with a Python that the locked packages are made for."""
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise SetupError(f"this machine is {system} on {machine}; Fleetform runs on Linux x86-64: use such a machine or virtual machine")
    version = sys.version_info[:2]
    if not OLDEST_PYTHON <= version <= NEWEST_PYTHON:
        raise SetupError(f"this is Python {version[0]}.{version[1]}; install Python 3.11, 3.12 or 3.13 and put it first on PATH")


def check_driver(driver: str) -> None:
    """One whose hosts are machines: this machine is to be one of them."""
    if driver == "fake":
        raise SetupError(
            "FLEETFORM_DRIVER is 'fake', which pretends its hosts: unset it, or run `fleetform server` with a database of its own"
        )


def check_disk(folder: Path, needed_mib: int, purpose: str) -> None:
    """Room for purpose where folder is or will be."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free >> 20
    if free < needed_mib:
        raise SetupError(
            f"{purpose} needs {needed_mib} MiB of disk and {existing} has {free} MiB free: free some, or set FLEETFORM_HOME to another disk"
        )


def check_memory(needed_mib: int, purpose: str) -> None:
    """Memory for purpose, within this machine and this control group."""
    free = available_memory_mib()
    if free < needed_mib:
        raise SetupError(
            f"{purpose} needs {needed_mib} MiB of memory and {free} MiB are available: end other programs, or use a larger machine"
        )


def check_ports(ports: Mapping[str, int], home: Path) -> None:
    """Every port is free, or held by a process that home's records know as ours. ports: variable that sets it → port."""
    if len(set(ports.values())) != len(ports):
        raise SetupError(f"{' and '.join(ports)} name the same port; give each its own")
    ours = set(running(home).values())
    for variable, port in ports.items():
        holder = listener(port)
        if holder is None or any(holder.pid == identity.pid for identity in ours):
            continue
        who = f"{holder.name} (pid {holder.pid})" if holder.pid is not None else "a process of another user"
        raise SetupError(f"port {port} is held by {who}: end it, or set {variable} to a free port")


def check_run_dir(run: Path) -> None:
    """The socket directory, if it exists, is a directory of ours that nobody else may enter."""
    try:
        found = run.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise SetupError(f"{run} must be a directory of user {os.geteuid()} with mode 0700; it is not: remove it, or set XDG_RUNTIME_DIR")


def running(home: Path) -> dict[str, processes.Identity]:
    """The living children of home's supervisor, by name, from their records."""
    found = {}
    for record in sorted((home / "host" / "running").glob("*.json")):
        identity = children.recorded_identity(record)
        if identity is not None and processes.alive(identity):
            found[record.stem] = identity
    return found


def listener(port: int) -> Holder | None:
    """Who listens on port on this machine (any address), or None."""
    inodes = {inode for table in ("tcp", "tcp6") for inode in _listening_inodes(Path("/proc/net") / table, port)}
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").glob("[0-9]*"):
        if _holds(process, wanted):
            return Holder(int(process.name), _program_name(process))
    return Holder(None, "")


def available_memory_mib() -> int:
    """What may still be used: of the machine, and of the control group's limit if that is less."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) >> 10
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except OSError:
        return free
    return free if limit == "max" else min(free, (int(limit) - used) >> 20)


def _listening_inodes(table: Path, port: int) -> list[str]:
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except FileNotFoundError:  # a kernel without IPv6
        return []
    return [row[9] for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port]


def _holds(process: Path, wanted: set[str]) -> bool:
    try:
        return any(os.readlink(entry) in wanted for entry in (process / "fd").iterdir())  # noqa: PTH115  # the text is no path
    except OSError:  # it has ended meanwhile, or is another user's
        return False


def _program_name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a process"
