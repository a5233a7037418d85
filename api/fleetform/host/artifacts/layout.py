"""The folders of the cache: where things lie, locks, links, room, eviction.

    blobs/<sha256>        one file's bytes, by their hash; read-only
    models/<digest>/      an artifact: hard links to blobs. Its modification time is when it was last used
    converted/<digest>-c<N>/ and .json   what converter version N made of it, and the manifest of that
    partial/<key>.<file>  a file on its way; resumed, never looked at by an engine
    staging/<key>[.…]/    a folder on its way to models/ or converted/
    locks/<key>           held (flock) while <key> is worked on; the kernel frees it when its holder dies
    pins/<digest>/<holder>  an empty file for each replica that needs the artifact

A blob with a single link belongs to no model and is removed with the last one. Everything is made beside its place, fsynced, and
renamed into it, so that a folder under its final name is whole.
"""

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fleetform.errors import CacheFull
from fleetform.host.artifacts.sources import Stop

LOCK_POLL_S = 0.1
RESERVE_BYTES = 256 << 20
"""Kept free, so that a full cache does not stop the database on the same disk."""


class Layout:
    """The cache's folders below root. free_bytes: what root's file system has left; limit_bytes: what the cache may take."""

    def __init__(
        self,
        root: Path,
        *,
        limit_bytes: int | None = None,
        reserve_bytes: int = RESERVE_BYTES,
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        self.root = root
        self._limit_bytes = limit_bytes
        self._reserve_bytes = reserve_bytes
        self._free_bytes = free_bytes or (lambda: shutil.disk_usage(root).free)
        self.make_folders()

    def make_folders(self) -> None:
        """Make those that are not there; somebody in need of room may have removed them all."""
        for name in ("blobs", "models", "converted", "partial", "staging", "locks", "pins"):
            (self.root / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    def blob(self, sha256: str) -> Path:
        return self.root / "blobs" / sha256

    def model(self, digest: str) -> Path:
        return self.root / "models" / digest

    def converted(self, digest: str, version: int) -> Path:
        return self.root / "converted" / f"{digest}-c{version}"

    def partial(self, key: str, file: str) -> Path:
        return self.root / "partial" / f"{key}.{file}"

    def drop_partials(self, key: str) -> None:
        """Removes what is on its way for key, whose lock the caller holds."""
        for path in (self.root / "partial").glob(f"{key}.*"):
            path.unlink(missing_ok=True)

    def staging(self, key: str, what: str) -> Path:
        """An empty folder for a part of key, whose lock the caller holds; what a dead predecessor left is removed."""
        folder = self.root / "staging" / f"{key}.{what}"
        remove(folder)
        folder.mkdir(mode=0o700)
        return folder

    @contextmanager
    def lock(self, key: str, stop: Stop) -> Iterator[None]:
        """Waits until nobody else, in any process, works on key. Stopped when nobody waits any more."""
        self.make_folders()
        with (self.root / "locks" / key).open("a") as held:
            while not _try_lock(held.fileno()):
                stop.wait(LOCK_POLL_S)
                stop.check()
            yield

    def publish_blob(self, partial: Path, sha256: str, targets: Iterable[Path]) -> None:
        """Moves a complete, checked and fsynced file to its blob, and links it to targets."""
        partial.chmod(0o444)
        # The links come first: a blob without a second link may be removed at any time.
        for target in targets:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.link(partial, target)
        partial.replace(self.blob(sha256))
        sync_folder(self.root / "blobs")

    def publish_folder(self, staged: Path, final: Path) -> None:
        """Puts staged in the place of final, whole or not at all; what was there before goes."""
        for folder, _, _ in os.walk(staged):
            sync_folder(Path(folder))
        old = staged.with_suffix(".old")
        remove(old)
        with suppress(FileNotFoundError):
            final.rename(old)
        staged.rename(final)
        sync_folder(final.parent)
        sync_folder(staged.parent)
        remove(old)

    def touch(self, digest: str) -> None:
        """Marks the artifact as used now."""
        with suppress(FileNotFoundError):
            os.utime(self.model(digest))

    def pin(self, digest: str, holder: str) -> None:
        folder = self.root / "pins" / digest
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / holder).touch(mode=0o600)
        sync_folder(folder)

    def unpin(self, digest: str, holder: str) -> None:
        (self.root / "pins" / digest / holder).unlink(missing_ok=True)

    def pinned(self, digest: str) -> bool:
        folder = self.root / "pins" / digest
        return folder.is_dir() and any(folder.iterdir())

    def make_room(self, needed_bytes: int, *, keep: str = "") -> None:
        """Evicts artifacts that nobody pins, longest unused first, until there is room; CacheFull when that is not enough.

        keep: a digest that the caller works on; its lock is the caller's.
        """
        if self._room() >= needed_bytes:
            return
        for digest in self._evictable(keep):
            self._evict(digest)
            if self._room() >= needed_bytes:
                return
        self._drop_abandoned()
        if self._room() < needed_bytes:
            raise self.full(needed_bytes)

    def full(self, needed_bytes: int) -> CacheFull:
        """The error that says how much more is needed, and how much there is."""
        free = max(0, self._room())
        return CacheFull(
            f"the artifact cache needs {needed_bytes} bytes more, {free} are free, and all that is left in it is in use",
            needed_bytes=needed_bytes,
            free_bytes=free,
        )

    def _room(self) -> int:
        free = self._free_bytes() - self._reserve_bytes
        if self._limit_bytes is None:
            return free
        return min(free, self._limit_bytes - self.used_bytes())

    def used_bytes(self) -> int:
        """Bytes of all files in the cache, each counted once however many links it has."""
        seen: dict[int, int] = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                with suppress(FileNotFoundError):
                    found = (Path(folder) / name).lstat()
                    seen[found.st_ino] = found.st_size
        return sum(seen.values())

    def _evictable(self, keep: str) -> list[str]:
        ages = []
        for folder in (self.root / "models").iterdir():
            with suppress(FileNotFoundError):
                ages.append((folder.stat().st_mtime_ns, folder.name))
        return [digest for _, digest in sorted(ages) if digest != keep]

    def _evict(self, digest: str) -> None:
        with (self.root / "locks" / digest).open("a") as held:
            if not _try_lock(held.fileno()) or self.pinned(digest) or not self.model(digest).exists():
                return  # somebody else who needs room may have been quicker
            for folder in (self.root / "converted").glob(f"{digest}-c*"):
                remove(folder)
            gone = self.root / "staging" / f"{digest}.old"
            remove(gone)
            self.model(digest).rename(gone)
            remove(gone)
            self._drop_unlinked_blobs()

    def _drop_unlinked_blobs(self) -> None:
        for blob in (self.root / "blobs").iterdir():
            with suppress(FileNotFoundError):
                if blob.stat().st_nlink == 1:
                    blob.unlink()

    def _drop_abandoned(self) -> None:
        """Partial files and staged folders whose work nobody does at present."""
        for folder in ("partial", "staging"):
            for path in (self.root / folder).iterdir():
                key = path.name.partition(".")[0]
                with (self.root / "locks" / key).open("a") as held:
                    if _try_lock(held.fileno()):
                        remove(path)
        self._drop_unlinked_blobs()


def sizes(folder: Path) -> dict[str, int]:
    """Path below folder → bytes, for everything in it but folders; -1 for what is not a regular file."""
    found = {}
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if not stat.S_ISDIR(mode):
            found[str(path.relative_to(folder))] = path.lstat().st_size if stat.S_ISREG(mode) else -1
    return found


def remove(path: Path) -> None:
    """path gone, be it a file, a folder or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes renames and links in folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
