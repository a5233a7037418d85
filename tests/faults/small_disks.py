"""File systems that are small or ill, mounted for one test. Where mounting is not allowed, the test is skipped with the command's words."""

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BLOCK_BYTES = 4096
FIBMAP = 1
"""The ioctl that tells which block of the disk holds a block of a file."""


@contextmanager
def tmpfs(place: Path, mib: int) -> Iterator[Path]:
    """place as a file system of so many MiB in memory."""
    with _mounted(place, "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs"):
        yield place


@contextmanager
def disk_image(image: Path, place: Path, mib: int) -> Iterator[Path]:
    """place as an ext4 in the file image. Whoever shortens image makes a disk whose later blocks cannot be read any more."""
    with image.open("wb") as file:
        file.truncate(mib << 20)
    _run("mkfs.ext4", "-q", "-F", "-b", str(BLOCK_BYTES), "-O", "^has_journal", str(image))
    with _mounted(place, "-o", "loop", str(image)):
        yield place


def make_unreadable(file: Path, image: Path) -> None:
    """The second half of file, which lies on the mounted image, cannot be read any more: the kernel says EIO."""
    with file.open("rb") as opened:
        size = file.stat().st_size
        os.fsync(opened.fileno())
        middle = fcntl.ioctl(opened.fileno(), FIBMAP, struct.pack("I", size // BLOCK_BYTES // 2))
        os.truncate(image, struct.unpack("I", middle)[0] * BLOCK_BYTES)
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # what the kernel remembers of it would still be read


@contextmanager
def _mounted(place: Path, *words: str) -> Iterator[None]:
    place.mkdir(parents=True, exist_ok=True)
    _run("mount", *words, str(place))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _run(*words: str) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip(f"`{words[0]}` is not installed")
    if done.returncode != 0:
        pytest.skip(f"`{' '.join(words)}` says: {done.stderr.strip()}")
