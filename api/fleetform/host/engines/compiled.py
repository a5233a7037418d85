"""What engines compile, kept between starts: a folder per engine version, kind of device and model, bounded as a whole.

A kernel that was compiled for one of them is of no use to another; apart, a stale or poisoned one harms no other model, and what is not
used any more can be told and goes first.
"""

import contextlib
import os
import re
import shutil
import time
from pathlib import Path

LIMIT_BYTES = 8 * 1024**3
IN_USE_S = 3600.0
"""A folder taken less long ago may belong to a start that is under way, and is never removed."""
INSPECTED = "modelinfos"

_ODD = re.compile(r"[^A-Za-z0-9._+-]+")


def folder(cache: Path, version: str, kind: str, digest: str) -> Path:
    """Where that engine version keeps what it compiles for that model on that kind of device. cache: the engines' own."""
    return cache / "compiled" / _word(version) / _word(kind) / digest[:16]


def take(path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
    """Make a folder of `folder`'s ready for a start, as the last one used, and remove the longest unused ones beyond the limit."""
    (path / "vllm").mkdir(mode=0o700, parents=True, exist_ok=True)
    # What a model's class can do is the same for every model of that class, and dear to find out: all of a version share it.
    shared = path.parents[1] / INSPECTED
    shared.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (path / "vllm" / INSPECTED).symlink_to(shared, target_is_directory=True)
    os.utime(path)
    _bound(path.parents[2], limit_bytes)


def _bound(root: Path, limit_bytes: int) -> None:
    found = sorted(((_used_at(path), path) for path in root.glob("*/*/*") if path.is_dir() and not path.is_symlink()), reverse=True)
    total = 0
    for used_at, path in found:
        total += _size(path)
        if total > limit_bytes and used_at < time.time() - IN_USE_S:
            shutil.rmtree(path, ignore_errors=True)


def _used_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another start removed it
        return 0.0


def _size(path: Path) -> int:
    total = 0
    for parent, _, files in os.walk(path):
        for name in files:
            with contextlib.suppress(OSError):
                total += (Path(parent) / name).lstat().st_size
    return total


def _word(text: str) -> str:
    """text as one name of a folder."""
    return _ODD.sub("-", text).strip(".") or "unknown"
