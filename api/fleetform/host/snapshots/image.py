"""The folder of an engine on disk. As long as its record lies in it, the engine is there, whole; it is written last and taken away first.

FOLDER/record.json    the record (Frozen)
FOLDER/taken.json     the same, once a replica has taken the engine
FOLDER/making.json    while it is put there: by whom (Making)
FOLDER/images/        what CRIU writes, and memory that is shared by names

An image holds the memory of processes: weights, and whatever they have not overwritten of what they were asked. Folders are 0700, files
0600.
"""

import hashlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from fleetform.domain.base import Record
from fleetform.domain.protocol import SleepingEngine, StartReplica, sleeping_engine
from fleetform.domain.replica import Address, ProcessIdentity
from fleetform.host import processes, records
from fleetform.host.processes import Identity
from fleetform.host.snapshots import shared
from fleetform.host.snapshots.shared import Shared

RECORD, TAKEN, MAKING, IMAGES = "record.json", "taken.json", "making.json", "images"
MIB = 1024 * 1024
CHUNK_BYTES = 1 << 20
T = TypeVar("T", bound=Record)

log = structlog.get_logger(__name__)


class Frozen(Record, frozen=True, kw_only=True):
    """engine_id: the replica that launched it, whose directories, socket and log it keeps. start: what it served last. nonce: of its
    launch.

    machine: a digest of what must be the same of the machine. pids: of its processes, which must be free. answer: what it answered to
    a question that is always the same. files: name → SHA-256, of all that lies in IMAGES. pieces, gone: of shared memory, as in
    shared.py.
    """

    engine_id: str
    fingerprint: str
    machine: str
    start: StartReplica
    nonce: str
    address: Address
    pids: tuple[int, ...]
    answer: str
    since: datetime
    pieces: tuple[Shared, ...]
    gone: tuple[str, ...]
    files: dict[str, str]
    disk_mib: int

    def shown(self) -> SleepingEngine:
        """As the report shows it."""
        return sleeping_engine(self.engine_id, self.start, self.since, disk_mib=self.disk_mib)


class Making(Record, frozen=True, kw_only=True):
    """maker: the process that puts it there. leader: that of the engine. inodes: of the memory that its processes share by names."""

    maker: ProcessIdentity
    leader: ProcessIdentity
    inodes: tuple[int, ...]


def images(folder: Path) -> Path:
    return folder / IMAGES


def begin(folder: Path) -> None:
    """Make it, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    for directory in (folder, images(folder)):
        records.private_directory(directory)


def put_making(folder: Path, making: Making) -> None:
    """Write down who puts an engine there, before it begins."""
    records.write(folder / MAKING, msgspec.json.encode(making))


def abandon(folder: Path) -> None:
    """Remove a folder whose engine was not put there to the end, or was taken. Whoever puts it there is ended first.

    The engine may live: then it is its replica's, which ends it.
    """
    making = _load(folder / MAKING, Making)
    if making is not None and not (folder / TAKEN).exists():
        processes.end_group(_identity(making.maker), folder, 0.0, signal.SIGKILL)
        # One that lives needs its own names; those of a CRIU that was ended would stay, and be in the way of the next.
        lives = processes.alive(_identity(making.leader))
        shared.forget(making.inodes, shared.OF_CRIU if lives else "")
    discard(folder)


def digests(folder: Path, stop: threading.Event | None = None) -> dict[str, str]:
    """The SHA-256 of each file of it; of those that came before stop was set. Takes a second for 1.5 GB."""
    found: dict[str, str] = {}
    for path in sorted(images(folder).iterdir()):
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                if stop is not None and stop.is_set():
                    return found
                digest.update(chunk)
        found[path.name] = digest.hexdigest()
    return found


def size_mib(folder: Path) -> int:
    return sum(path.stat().st_size for path in images(folder).iterdir()) // MIB + 1


def seal(folder: Path, frozen: Frozen) -> None:
    """From here on it is an engine on disk: all of it is there before its record is."""
    for path in images(folder).iterdir():
        path.chmod(0o600)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    for directory in (images(folder), folder, folder.parent):
        records.sync_directory(directory)
    records.write(folder / RECORD, msgspec.json.encode(frozen))


def load_all(snapshots: Path) -> Iterator[Frozen]:
    """Every engine that lies whole in a folder of snapshots."""
    for path in sorted(snapshots.glob(f"*/{RECORD}")):
        found = _load(path, Frozen)
        if found is not None and found.engine_id == path.parent.name:
            yield found


def taken(folder: Path) -> Frozen | None:
    """What lay there, where a replica has taken it."""
    return _load(folder / TAKEN, Frozen)


def take(folder: Path) -> None:
    """It is a replica's now, on the disk when this returns, and nobody else takes it."""
    (folder / RECORD).replace(folder / TAKEN)
    records.sync_directory(folder)


def why_not_whole(folder: Path, frozen: Frozen, stop: threading.Event | None = None) -> str:
    """What differs of its files from its record, or nothing. Takes as long as `digests`."""
    try:
        found = digests(folder, stop)
    except OSError as error:
        return f"its image cannot be read: {error}"
    wrong = sorted(name for name in found.keys() | frozen.files.keys() if found.get(name) != frozen.files.get(name))
    return f"its image is not what was written: {', '.join(wrong)}" if wrong else ""


def discard(folder: Path, *, put_back: bool = False) -> None:
    """Remove it, if it is there. put_back: also the memory that was put back for an engine that has not become one."""
    if not folder.is_dir():
        return
    known = taken(folder) if put_back else None
    if known is not None:
        shared.remove(known.pieces, known.gone)
    records.remove(folder / RECORD)
    shutil.rmtree(folder, ignore_errors=True)


def _load(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        log.error("record_unreadable", path=str(path), error=str(error))
        return None


def _identity(process: ProcessIdentity) -> Identity:
    return Identity(**msgspec.structs.asdict(process))
