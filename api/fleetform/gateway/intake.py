"""Reads the access log as Envoy writes it, and fills the windows of an hour from it. Only times, ids and outcomes are read.

After a worker's restart the hour is read again from the log and its older files, so that nothing has to be kept apart from it.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO

import msgspec
import structlog

from fleetform.gateway.outliers import Kind, Outliers
from fleetform.gateway.rotation import KEPT, renamed
from fleetform.gateway.windows import KEPT_S, WindowStore

EVERY_S = 0.5
FLUSH_S = 1.0
"""What ended longer ago than this stands in the file: Envoy writes it out every 0.2 s."""
PIECE_BYTES = 256 << 10
"""Some 700 lines, 3 ms: calls are answered in between."""
LINE_MAX_BYTES = 64 << 10

log = structlog.get_logger(__name__)


class Line(msgspec.Struct, frozen=True):
    """What is read of a line; everything else is skipped."""

    time: datetime
    project: str | None = None
    endpoint: str | None = None
    track: str | None = None
    replica: str | None = None
    stream: bool | None = None
    status: int | None = None
    flags: str | None = None
    latency_ms: float | None = None
    replica_ttft_ms: float | None = None
    replica_latency_ms: float | None = None


_LINE = msgspec.json.Decoder(Line)


class Follower:
    """A file that grows, is renamed, and is begun anew. read: the whole lines that have come since the last time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._rest = b""
        self._seen_replaced = False

    def open(self) -> None:
        """Hold on to the file that is there now, whatever it is renamed to; nothing when there is none."""
        if self._file is None:
            with contextlib.suppress(FileNotFoundError):
                self._file = self._path.open("rb", buffering=0)

    def read(self) -> list[bytes]:
        """At most PIECE_BYTES of them; empty when the end has been reached. OSError when the file cannot be read."""
        self.open()
        if self._file is None:
            return []
        piece = self._file.read(PIECE_BYTES)
        if piece:
            return self._lines(piece)
        following = self._following()
        if following is not None:
            # Looked at once more before it is let go: another Envoy may be about to write its last lines into it.
            if self._seen_replaced:
                self.close()
                self._file = following.open("rb", buffering=0)
                return self.read()
            self._seen_replaced = True
        return []

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._rest, self._seen_replaced = None, b"", False

    def _lines(self, piece: bytes) -> list[bytes]:
        *whole, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > LINE_MAX_BYTES:
            self._rest = b""
        return whole

    def _following(self) -> Path | None:
        """The file that was begun after the one being read, or that one when it has been cut; None when there is none."""
        assert self._file is not None
        here = os.fstat(self._file.fileno())
        newer: Path | None = None
        for path in (self._path, *(renamed(self._path, number) for number in range(1, KEPT + 1))):
            there = _stat(path)
            if there is not None and (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
                return self._path if there.st_size < self._file.tell() else newer
            newer = path if there is not None else newer
        return self._path if _stat(self._path) is not None else None


class Intake:
    """`run` follows the log for ever. until: up to when everything that has ended is in store; None while the past is being read.

    outliers: is told what has ended just now, by elapsed, which never goes back.
    """

    def __init__(
        self,
        path: Path,
        store: WindowStore,
        clock: Callable[[], float] = time.time,
        outliers: Outliers | None = None,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._store = store
        self._clock = clock
        self._outliers = outliers
        self._elapsed = elapsed
        self._follower = Follower(path)
        self._unreadable = 0
        self.until: float | None = None

    async def run(self) -> None:
        """The older files first, then the present one as it grows. What cannot be read is told to the log, and tried again."""
        self._follower.open()
        for path in older(self._path, self._clock() - KEPT_S):
            past = Follower(path)
            await self._read_on(past)
            past.close()
        while True:
            asked_at = self._clock()
            if await self._read_on(self._follower):
                self.until = asked_at - FLUSH_S
            self._store.forget(self._clock())
            await asyncio.sleep(EVERY_S)

    def close(self) -> None:
        """Let go of the log, after `run` has been cancelled."""
        self._follower.close()

    async def _read_on(self, follower: Follower) -> bool:
        """To the end of what there is; False when it cannot be read."""
        try:
            while lines := await asyncio.to_thread(follower.read):
                for line in lines:
                    self.take(line)
        except OSError as error:
            log.warning("access_log_not_read", error=str(error))
            return False
        return True

    def take(self, line: bytes) -> None:
        """One line of the log, of a request that a replica answered or was asked to; others are not a track's."""
        try:
            found = _LINE.decode(line)
        except msgspec.DecodeError:
            self._unreadable += 1
            if self._unreadable == 1:
                log.warning("access_log_line_unreadable", length=len(line))
            return
        if not found.track or not found.project or not found.endpoint:
            return
        status = found.status or 0
        failed, refused = status >= 500, 400 <= status < 500
        self._store.answered(
            f"{found.project}/{found.endpoint}",
            found.track,
            found.time.timestamp() + (found.latency_ms or 0.0) / 1000,
            error=failed,
            abort=not failed and broke_off(found.flags),
            refusal=refused,
            ttft_ms=None if failed or refused else found.replica_ttft_ms,
            latency_ms=None if failed or refused else found.replica_latency_ms,
        )
        if self._outliers is not None and self.until is not None and not (failed or refused):
            self._compare(self._outliers, found)

    def _compare(self, outliers: Outliers, found: Line) -> None:
        """A stream's first byte counts however the stream ended; of a plain answer only the whole. What may be either is left out."""
        kind, time_ms = Kind.FIRST_BYTE, found.replica_ttft_ms
        if not found.stream:
            kind, time_ms = Kind.WHOLE, None if broke_off(found.flags) else found.replica_latency_ms
        if found.replica and found.stream is not None and time_ms is not None:
            outliers.answered(found.replica, kind, time_ms, (found.latency_ms or 0.0) / 1000, self._elapsed())


def broke_off(flags: str | None) -> bool:
    """True when an answer did not come whole: Envoy sets a flag when the replica breaks off, the client leaves, or a limit is passed."""
    return flags not in (None, "", "-")


def older(path: Path, since: float) -> Iterator[Path]:
    """The renamed logs that were written to after since, oldest first."""
    for number in range(KEPT, 0, -1):
        found = _stat(renamed(path, number))
        if found is not None and found.st_mtime >= since:
            yield renamed(path, number)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
