"""One file on its way into the cache: hashed, judged and written in one reading, several files at a time."""

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from fleetform.errors import CacheFull
from fleetform.host.artifacts.content import FileCheck
from fleetform.host.artifacts.sharing import Progress
from fleetform.host.artifacts.sources import CHUNK_BYTES, Source, SourceFile, Stop

T = TypeVar("T")
FILES_AT_ONCE = 4


class Tally:
    """Bytes done, over all files that are worked on at once, told to progress."""

    def __init__(self, phase: str, total: int, progress: Progress) -> None:
        self._phase = phase
        self._total = total
        self._progress = progress
        self._done = 0
        self._lock = threading.Lock()
        progress(phase, 0, total)

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._progress(self._phase, min(self._done, self._total), self._total)


def receive(source: Source, file: SourceFile, partial: Path | None, check: FileCheck | None, stop: Stop, tally: Tally) -> str:
    """The SHA-256 of file, whose bytes then stand, fsynced, in partial (None: only hash).

    What partial holds already is hashed and judged like the rest, and the source is read from there on, if it can be resumed.
    Raises what the source and check raise, and CacheFull when the disk is full.
    """
    digest = hashlib.sha256()

    def take(chunk: bytes) -> None:
        digest.update(chunk)
        if check is not None:
            check.feed(chunk)
        tally.add(len(chunk))

    if partial is None:
        for chunk in source.read(file, 0, stop):
            take(chunk)
        return digest.hexdigest()
    have = _kept(partial, file, source)
    if have:
        for chunk in _chunks(partial, stop):
            take(chunk)
    try:
        with partial.open("ab") as sink:
            for chunk in source.read(file, have, stop):
                take(chunk)
                sink.write(chunk)
            sink.flush()
            os.fsync(sink.fileno())
    except OSError as error:
        raise disk_full(error, file.size - _size(partial), partial) from error
    return digest.hexdigest()


def hash_file(path: Path, stop: Stop, *, tally: Tally | None = None) -> str:
    """The SHA-256 of a file of this machine, in hex; told to tally, if any. OSError when it cannot be read."""
    digest = hashlib.sha256()
    for chunk in _chunks(path, stop):
        digest.update(chunk)
        if tally is not None:
            tally.add(len(chunk))
    return digest.hexdigest()


def side_by_side(jobs: Sequence[Callable[[Stop], T]], stop: Stop) -> list[T]:
    """The results of jobs, in their order, a few at a time. The first error stops the others and is raised when they have ended.

    The threads are of this call alone: a bucket that stalls holds up nobody who reads from elsewhere.
    """
    part = stop.part()
    with ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="artifact-file") as threads:
        futures = [threads.submit(job, part) for job in jobs]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        failed = next((future for future in futures if future in done and future.exception() is not None), None)
        if failed is None:
            return [future.result() for future in futures]
        part.set()
        threads.shutdown(cancel_futures=True)
    stop.check()
    error = failed.exception()
    assert error is not None
    raise error


def disk_full(error: OSError, needed_bytes: int, path: Path) -> Exception:
    """CacheFull when error says that the disk is full, else error itself."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    free = shutil.disk_usage(path.parent).free
    return CacheFull(
        f"the disk of the artifact cache is full: {needed_bytes} bytes more are needed, {free} are free",
        needed_bytes=needed_bytes,
        free_bytes=free,
    )


def _kept(partial: Path, file: SourceFile, source: Source) -> int:
    """Bytes of partial that can be kept; the rest of it is cut off."""
    have = _size(partial)
    if have and (have > file.size or not source.resumable):
        os.truncate(partial, 0)
        return 0
    return have


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _chunks(path: Path, stop: Stop) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as opened:
        while chunk := opened.read(CHUNK_BYTES):
            stop.check()
            yield chunk
