"""The routing snapshot on disk: a base file, and a journal of the updates since, one fsynced line each.

snapshot.json               a RoutingSnapshot, replaced whole (temporary file, fsync, rename)
journal-<epoch>-<version>   the updates after the base of that name: CRC-32 in hex, a space, a SnapshotUpdate as JSON

A crash at any byte leaves a readable snapshot: a torn line fails its checksum and ends the journal. The names tie a journal to its
base, so that no order of the two writes can mix them. One process writes; any number follow by `SnapshotReader`.
"""

import contextlib
import os
import zlib
from pathlib import Path

import msgspec
import structlog

from fleetform.gateway.snapshot import Applied, PublishResult, RoutingSnapshot, SnapshotUpdate, apply, judge

_log = structlog.get_logger()
_BASE = "snapshot.json"
_COMPACT_AT = 1 << 20
"""Bytes of journal after which the base is written anew, or twice the base where that is more."""


class SnapshotStore:
    """The writer. `snapshot` is what is stored. Opening it repairs what a crash has left."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        base, self._base_bytes = _read_base(folder)
        self._journal_path = _journal_path(folder, base)
        self._journal = os.open(self._journal_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.snapshot, self._end = _replay(base, self._journal, 0)
        os.ftruncate(self._journal, self._end)
        _remove_other_journals(folder, self._journal_path)

    def publish(self, update: SnapshotUpdate) -> PublishResult:
        """Judge update and, when it may be applied, store it before returning. OSError when the disk refuses: nothing has changed then."""
        result = judge(self.snapshot, update)
        if not isinstance(result, Applied) or result.repeated:
            return result
        after = apply(self.snapshot, update)
        if update.full:
            self._rebase(after)
        else:
            self._append(update)
        self.snapshot = after
        if self._end > max(_COMPACT_AT, 2 * self._base_bytes):
            self._rebase(after)
        return result

    def close(self) -> None:
        os.close(self._journal)

    def _append(self, update: SnapshotUpdate) -> None:
        body = msgspec.json.encode(update)
        line = b"%08x %s\n" % (zlib.crc32(body), body)
        written = 0
        while written < len(line):
            # At a fixed offset: what an earlier failure has left behind is written over.
            written += os.pwrite(self._journal, line[written:], self._end + written)
        os.fdatasync(self._journal)
        self._end += len(line)

    def _rebase(self, snapshot: RoutingSnapshot) -> None:
        content = msgspec.json.encode(snapshot)
        temporary = self._folder / f"{_BASE}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        journal_path = _journal_path(self._folder, snapshot)
        journal = os.open(journal_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        temporary.replace(self._folder / _BASE)
        _sync_folder(self._folder)
        os.close(self._journal)
        self._journal, self._journal_path, self._end, self._base_bytes = journal, journal_path, 0, len(content)
        _remove_other_journals(self._folder, journal_path)


class SnapshotReader:
    """Follows the files of a store that another process writes. Needs nothing from that process but its files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._snapshot = RoutingSnapshot()
        self._base_id: tuple[int, ...] | None = None
        self._journal: int | None = None
        self._end = 0

    def snapshot(self) -> RoutingSnapshot:
        """What is stored now; two `stat` calls when nothing has changed."""
        base_id = _file_id(self._folder / _BASE)
        if base_id != self._base_id or self._journal is None:
            self._reload(base_id)
        elif os.fstat(self._journal).st_size > self._end:
            self._snapshot, self._end = _replay(self._snapshot, self._journal, self._end)
        return self._snapshot

    def close(self) -> None:
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None

    def _reload(self, base_id: tuple[int, ...] | None) -> None:
        self.close()
        base, _ = _read_base(self._folder)
        self._base_id, self._snapshot, self._end = base_id, base, 0
        with contextlib.suppress(FileNotFoundError):
            self._journal = os.open(_journal_path(self._folder, base), os.O_RDONLY | os.O_CLOEXEC)
            self._snapshot, self._end = _replay(base, self._journal, 0)


def _replay(snapshot: RoutingSnapshot, journal: int, offset: int) -> tuple[RoutingSnapshot, int]:
    """snapshot with every whole line of journal from offset on, and the offset behind the last one."""
    rest = os.fstat(journal).st_size - offset
    for line in os.pread(journal, rest, offset).splitlines(keepends=True):
        update = _decode(line)
        if update is None:
            break
        snapshot = apply(snapshot, update)
        offset += len(line)
    return snapshot, offset


def _decode(line: bytes) -> SnapshotUpdate | None:
    checksum, _, body = line.removesuffix(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(body):
        return None
    return msgspec.json.decode(body, type=SnapshotUpdate)


def _read_base(folder: Path) -> tuple[RoutingSnapshot, int]:
    """The base and its size. An unreadable one counts as none: the next update is answered with NeedsFull, and replaces it."""
    try:
        content = (folder / _BASE).read_bytes()
    except FileNotFoundError:
        return RoutingSnapshot(), 0
    try:
        return msgspec.json.decode(content, type=RoutingSnapshot), len(content)
    except msgspec.DecodeError as error:
        _log.error("snapshot_unreadable", file=str(folder / _BASE), error=str(error))
        return RoutingSnapshot(), 0


def _journal_path(folder: Path, base: RoutingSnapshot) -> Path:
    return folder / f"journal-{base.epoch}-{base.version}"


def _remove_other_journals(folder: Path, keep: Path) -> None:
    for path in folder.glob("journal-*"):
        if path != keep:
            path.unlink(missing_ok=True)


def _file_id(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
