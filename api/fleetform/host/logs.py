"""Log files of the processes we start: bounded, and shown only after secrets are taken out. Standard library only.

The processes append to the files themselves. A pipe would bound them better, but it dies with whoever reads it, and then the writer
dies too.
"""

import os
import re
import shutil
from pathlib import Path

LIMIT_BYTES = 8 * 1024 * 1024
TAIL_BYTES = 256 * 1024
LINE_MAX = 2000

_NAMES = "(?:password|passwd|secret|token|api[_-]?key|access[_-]?key)"
_SECRETS = (
    (re.compile(r"cd-[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]+){0,2}"), "cd-[redacted]"),
    (re.compile(r"\b(hf_|sk-|ghp_|github_pat_|xox[bp]-)[A-Za-z0-9_-]{8,}"), r"\1[redacted]"),
    (re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{12,}"), r"\1[redacted]"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?"), "[redacted token]"),
    (re.compile(r"(?i)\b(authorization|proxy-authorization)(['\"]?\s*[:=]\s*)(bearer|basic)?\s*\S+"), r"\1\2[redacted]"),
    (re.compile(rf"(?i)({_NAMES}['\"]?\s*[:=]\s*['\"]?)(?!\d+\b)[^\s'\",;]{{4,}}"), r"\1[redacted]"),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/:@]+:[^\s/@]+@"), r"\1[redacted]@"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*"), "[redacted key]"),
)
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def redact(line: str) -> str:
    """line without what looks like a secret, without control characters, and at most LINE_MAX characters long."""
    clean = _CONTROL.sub("", line)
    for pattern, replacement in _SECRETS:
        clean = pattern.sub(replacement, clean)
    return clean if len(clean) <= LINE_MAX else clean[:LINE_MAX] + "…"


def tail(path: Path, lines: int) -> tuple[str, ...]:
    """The last lines of a log, oldest first, redacted; from the rotated file too when the current one has too few."""
    found: list[str] = []
    for part in (rotated(path), path):
        found += _end_of(part)
    return tuple(redact(line) for line in found[-lines:]) if lines > 0 else ()


def rotate(path: Path, limit_bytes: int = LIMIT_BYTES) -> bool:
    """Move what path holds to its rotated file once it is over limit_bytes. True when it did.

    Copied and cut, because the writers keep the file open; they append, so they go on at the new end.
    """
    try:
        if path.stat().st_size <= limit_bytes:
            return False
    except FileNotFoundError:
        return False
    shutil.copyfile(path, rotated(path))
    rotated(path).chmod(0o600)
    os.truncate(path, 0)
    return True


def rotated(path: Path) -> Path:
    """Where the older lines of path are."""
    return path.with_name(path.name + ".1")


def _end_of(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    lines = text.splitlines()
    return lines[1:] if size > TAIL_BYTES else lines
