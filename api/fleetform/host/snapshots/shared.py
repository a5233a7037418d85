"""Memory that processes share by names in SHM: files to CRIU, which puts their names on disk and not what is in them."""

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fleetform.domain.base import Record

SHM = Path("/dev/shm")  # noqa: S108  # where the C library keeps it
DELETED = " (deleted)"
OF_CRIU = "link_remap."
"""So begin the names that CRIU gives, while it puts processes on disk, to pieces of theirs that have none any more."""


class Shared(Record, frozen=True, kw_only=True):
    """One piece. names: all that it has in SHM. file: where it lies in the image."""

    names: tuple[str, ...]
    file: str
    mode: int


class Used(NamedTuple):
    """inodes: of pieces that processes have mapped or open. gone: names that such pieces had."""

    inodes: frozenset[int] = frozenset()
    gone: frozenset[str] = frozenset()


def used(pids: Iterable[int]) -> Used:
    """What these processes use of SHM."""
    device = SHM.stat().st_dev if SHM.is_dir() else None
    found: set[int] = set()
    gone: set[str] = set()
    for pid in pids if device is not None else ():
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            fields = line.split(maxsplit=5)
            major, minor = fields[3].split(":")
            if os.makedev(int(major, 16), int(minor, 16)) == device:
                found.add(int(fields[4]))
                if fields[5].endswith(DELETED):
                    gone.add(Path(fields[5].removesuffix(DELETED)).name)
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                stat = link.stat()
            except OSError:  # closed meanwhile, or a kind of file without one
                continue
            if stat.st_dev == device:
                found.add(stat.st_ino)
    return Used(frozenset(found), frozenset(gone))


def set_aside(inodes: frozenset[int], folder: Path) -> tuple[Shared, ...]:
    """Move those pieces to folder, with the names that CRIU has given them, once nobody uses them any more. OSError."""
    by_inode: dict[int, list[Path]] = {}
    for path in sorted(SHM.iterdir()) if inodes else ():
        inode = path.lstat().st_ino
        if inode in inodes and path.is_file() and not path.is_symlink():
            by_inode.setdefault(inode, []).append(path)
    made = []
    for number, paths in enumerate(by_inode.values()):
        target = folder / f"shared-{number}"
        shutil.copyfile(paths[0], target)
        made.append(Shared(names=tuple(path.name for path in paths), file=target.name, mode=paths[0].stat().st_mode & 0o777))
    for paths in by_inode.values():
        for path in paths:
            path.unlink()
    return tuple(made)


def put_back(pieces: Iterable[Shared], folder: Path) -> None:
    """Have them under all their names again. OSError, also where somebody else has one of the names."""
    for piece in pieces:
        first, *others = (SHM / name for name in piece.names)
        descriptor = os.open(first, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, piece.mode)
        with os.fdopen(descriptor, "wb") as target, (folder / piece.file).open("rb") as source:
            os.fchmod(descriptor, piece.mode)
            shutil.copyfileobj(source, target, 1 << 20)
        for other in others:
            other.hardlink_to(first)


def forget(inodes: Iterable[int], prefix: str = "") -> None:
    """Take the names away, or those with that prefix, of pieces that were not set aside."""
    wanted = frozenset(inodes)
    for path in SHM.iterdir() if wanted else ():
        with contextlib.suppress(FileNotFoundError):
            if path.name.startswith(prefix) and path.lstat().st_ino in wanted:
                path.unlink()


def remove(pieces: Iterable[Shared], gone: Iterable[str]) -> None:
    """Take their names away, and those that CRIU gives for a moment to pieces whose names were gone."""
    for piece in pieces:
        for name in piece.names:
            (SHM / name).unlink(missing_ok=True)
    for name in gone:
        for path in SHM.glob(f"{name}.cr.*.ghost"):
            path.unlink(missing_ok=True)
