"""What a source of artifact files is; folders and single files of this machine.

A source lists files and reads them from an offset. It blocks, and is called in threads. Files and folders whose name begins with
a dot are never part of an artifact.
"""

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from fleetform.domain.base import Record
from fleetform.domain.conditions import Reason
from fleetform.errors import SourceAway
from fleetform.host.artifacts.location import Location, Scheme, is_below, parse, path_problem
from fleetform.host.artifacts.refusal import refusal

CHUNK_BYTES = 1 << 20
FILES_MAX = 10_000


class Stopped(Exception):
    """Nobody waits for this work any more. It never leaves this package."""


class Stop(threading.Event):
    """Set when the work should end; looked at between chunks. Setting it sets its parts too."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[Stop] = []

    def part(self) -> "Stop":
        """A stop for a part of the work: it can be set alone, and is set with the whole."""
        part = Stop()
        self._parts.append(part)
        if self.is_set():
            part.set()
        return part

    def set(self) -> None:
        super().set()
        for part in tuple(self._parts):
            part.set()

    def check(self) -> None:
        """Stopped once it is set."""
        if self.is_set():
            raise Stopped


class SourceFile(Record, frozen=True, kw_only=True):
    """One file as it lies at the source. path: below the artifact. origin: where the source reads it, absolute.

    version: equal for equal content of one origin, as far as the source can tell.
    """

    path: str
    size: int
    origin: str
    version: str
    etag: str = ""


class Source(Protocol):
    """Where an artifact lies. resumable: read from an offset is certain to go on in the same version of the file."""

    resumable: bool

    def files(self, stop: Stop) -> tuple[SourceFile, ...]:
        """Every file, sorted by path. Refused: ArtifactMissing when there is none, AccessDenied."""

    def find(self, path: str, stop: Stop) -> SourceFile:
        """One file as it is now; refused with ArtifactMissing when it is gone."""

    def read(self, file: SourceFile, offset: int, stop: Stop) -> Iterator[bytes]:
        """The bytes from offset to the end; SourceAway when it cannot be read in time or is no longer that version."""


def too_many_files(artifact: str) -> Exception:
    return refusal(Reason.ACCESS_DENIED, f"{artifact} holds more than {FILES_MAX} files; name the model's own folder", artifact=artifact)


class FileSource:
    """A folder or a file of this machine. Links that leave the prefixes, sockets, pipes and devices are refused."""

    resumable = False

    def __init__(self, location: Location, prefixes: tuple[str, ...]) -> None:
        """prefixes: all of the project's; a link may lead to any place below a file prefix."""
        self._path = Path(location.path.rstrip("/") or "/")
        self._must_be_folder = location.is_folder
        files = [p for p in map(parse, prefixes) if p.scheme is Scheme.FILE]
        self._roots = [Location(scheme=Scheme.FILE, bucket="", path=os.path.realpath(p.path)) for p in files]

    def files(self, stop: Stop) -> tuple[SourceFile, ...]:
        self._check_inside(self._path)
        try:
            if not stat.S_ISDIR(self._path.stat().st_mode):
                if self._must_be_folder:
                    raise refusal(Reason.ARTIFACT_MISSING, f"{self._path} is not a folder", path=str(self._path))
                return (self._describe(self._path.name, self._path),)
            found = tuple(sorted(self._walk(self._path, "", stop), key=lambda f: f.path))
        except OSError as error:
            raise _explained(error, self._path) from error
        if not found:
            raise refusal(Reason.ARTIFACT_MISSING, f"{self._path} is empty", path=str(self._path))
        return found

    def find(self, path: str, stop: Stop) -> SourceFile:
        stop.check()
        try:
            return self._describe(path, self._full(path))
        except OSError as error:
            raise _explained(error, self._full(path)) from error

    def read(self, file: SourceFile, offset: int, stop: Stop) -> Iterator[bytes]:
        full = Path(file.origin)
        try:
            # O_NONBLOCK: opening a pipe that took the file's place must not hang.
            descriptor = os.open(full, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb", buffering=0) as opened:
                # What was opened counts, not what the path meant a moment ago.
                self._check_inside(Path(f"/proc/self/fd/{descriptor}").readlink())
                self._check_same(file, descriptor)
                opened.seek(offset)
                while chunk := opened.read(CHUNK_BYTES):
                    stop.check()
                    yield chunk
                self._check_same(file, descriptor)
        except OSError as error:
            raise _explained(error, full) from error

    def _walk(self, folder: Path, below: str, stop: Stop, seen: list[int] | None = None) -> Iterator[SourceFile]:
        count = seen if seen is not None else [0]
        for entry in os.scandir(folder):
            stop.check()
            if entry.name.startswith("."):
                continue
            path = below + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path), path + "/", stop, count)
                continue
            count[0] += 1
            if count[0] > FILES_MAX:
                raise too_many_files(str(self._path))
            yield self._describe(path, Path(entry.path))

    def _describe(self, path: str, full: Path) -> SourceFile:
        wrong = path_problem(path)
        if wrong is not None:
            raise refusal(Reason.ACCESS_DENIED, f"{path!r} {wrong}", path=path)
        self._check_inside(full)
        found = full.stat()
        if not stat.S_ISREG(found.st_mode):
            raise refusal(Reason.ACCESS_DENIED, f"{path} is not a regular file", path=path)
        return SourceFile(path=path, size=found.st_size, origin=str(full), version=_version(found))

    def _check_inside(self, path: Path) -> None:
        real = Location(scheme=Scheme.FILE, bucket="", path=os.path.realpath(path))
        if not any(is_below(real, root) for root in self._roots):
            raise refusal(Reason.ACCESS_DENIED, f"{path} leads out of the project's artifact prefixes", path=str(path))

    def _check_same(self, file: SourceFile, descriptor: int) -> None:
        now = os.fstat(descriptor)
        if not stat.S_ISREG(now.st_mode) or _version(now) != file.version:
            raise SourceAway(f"{file.path} changes while it is read", path=file.path)

    def _full(self, path: str) -> Path:
        wrong = path_problem(path)
        if wrong is not None:
            raise refusal(Reason.ACCESS_DENIED, f"{path!r} {wrong}", path=path)
        if not self._must_be_folder and self._path.is_file() and path == self._path.name:
            return self._path
        return self._path / path


def _version(found: os.stat_result) -> str:
    # The change time cannot be set back, unlike the modification time.
    return f"{found.st_dev}-{found.st_ino}-{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}"


def _explained(error: OSError, path: Path) -> Exception:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return refusal(Reason.ARTIFACT_MISSING, f"{path} does not exist on this host", path=str(path))
    if isinstance(error, PermissionError):
        return refusal(Reason.ACCESS_DENIED, f"{path} may not be read by the host process", path=str(path))
    return SourceAway(f"{path} cannot be read: {error.strerror or error}", path=str(path))
