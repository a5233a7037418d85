"""Log files of the processes we start: bounded, and shown only after secrets are taken out. Standard library only.

The processes append to the files themselves. A pipe would bound them better, but it dies with whoever reads it, and then the writer
dies too.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from fleetform.redaction import redact

LIMIT_BYTES = 8 * 1024 * 1024
TAIL_BYTES = 256 * 1024
WORDS_FROM_LINES = 500

_FRAME = re.compile(r'(^|\s)File "[^"]*", line \d+, in ')
_CODE = re.compile(r"(^|\] ) {4}\S")
_MARK = re.compile(r"(^|\s)[~^]+$")
_CALM = re.compile(
    r"^(\([^)]*\) )?(INFO|DEBUG|WARNING)\b"  # what goes on
    r"|^\s*$|^\[W\d|Warning: |\d+% Completed"  # torch's and Python's warnings, progress bars
    r"|Traceback \(most recent call last\):$|\[Previous line repeated "  # what is left of tracebacks without their frames
)
_WARNED_OF = re.compile(r"^ {2}\S")
CALM_LINES = 10


def tail(path: Path, lines: int) -> tuple[str, ...]:
    """The last lines of a log, oldest first, redacted; from the rotated file too when the current one has too few."""
    found: list[str] = []
    for part in (rotated(path), path):
        found += _end_of(part)
    return tuple(redact(line) for line in found[-lines:]) if lines > 0 else ()


def last_words(path: Path, lines: int) -> tuple[str, ...]:
    """`tail` for a person who asks why an engine ended: without the frames of tracebacks, which would push out what was said, and without
    what engines say while all is well. Of a log that holds nothing else, as that of an engine which was killed, a few lines.
    """
    said = _without_frames(tail(path, WORDS_FROM_LINES))
    alarming, was_warning = [], False
    for line in said:
        is_calm = _CALM.search(line) is not None or (was_warning and _WARNED_OF.search(line) is not None)
        was_warning = "Warning: " in line
        if not is_calm:
            alarming.append(line)
    return tuple(alarming[-lines:]) if alarming else tuple(said[-min(lines, CALM_LINES) :])


def _without_frames(lines: Iterable[str]) -> list[str]:
    said = []
    in_frame = False
    for line in lines:
        was_in_frame, in_frame = in_frame, _FRAME.search(line) is not None
        if not in_frame and not (was_in_frame and _CODE.search(line)) and not _MARK.search(line):
            said.append(line)
    return said


def rotate(path: Path, limit_bytes: int = LIMIT_BYTES) -> bool:
    """Move the last limit_bytes of path to its rotated file once it holds more. True when it did.

    On a full disk it keeps what there is room for. Copied and cut, because the writers keep the file open; they append, so they go on
    at the new end.
    """
    try:
        if path.stat().st_size <= limit_bytes:
            return False
    except FileNotFoundError:
        return False
    try:
        _keep_end(path, limit_bytes)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        # It may be what has filled the disk: uncut, it would keep it full.
    os.truncate(path, 0)
    return True


def _keep_end(path: Path, limit_bytes: int) -> None:
    with path.open("rb") as source, rotated(path).open("wb") as kept:
        rotated(path).chmod(0o600)
        source.seek(-limit_bytes, os.SEEK_END)
        shutil.copyfileobj(source, kept)


def rotated(path: Path) -> Path:
    """Where the older lines of path are."""
    return path.with_name(path.name + ".1")


def _end_of(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:  # there is none, or the disk is ill: nobody is kept from ending for want of last words
        return []
    lines = text.splitlines()
    return lines[1:] if size > TAIL_BYTES else lines
