"""Small artifacts made by hand: safetensors, GGUF, folders of either, and a cache to put them in."""

import fcntl
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from fleetform.domain.model import Manifest
from fleetform.domain.protocol import VerifyArtifact
from fleetform.host.artifacts.layout import Layout

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "max_position_embeddings": 256, "torch_dtype": "float32"}


def safetensors(tensors: dict[str, bytes] | None = None, *, dtype: str = "F32", width: int = 4) -> bytes:
    """A well-formed file with one-dimensional tensors of width bytes per element."""
    tensors = tensors if tensors is not None else {"weight": bytes(range(64))}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, data in tensors.items():
        header[name] = {"dtype": dtype, "shape": [len(data) // width], "data_offsets": [at, at + len(data)]}
        at += len(data)
    return framed(json.dumps(header).encode()) + b"".join(tensors.values())


def framed(header: bytes) -> bytes:
    """header with its length before it."""
    return struct.pack("<Q", len(header)) + header


def gguf(*, architecture: str = "llama", context_length: int = 128, tensors: int = 1, extra: bytes = b"", pairs: int = 0) -> bytes:
    """A well-formed header, followed by the bytes of its float32 tensors of 8 elements. extra: that many further header pairs."""
    head = b"GGUF" + struct.pack("<IQQ", 3, tensors, 2 + pairs)
    head += text("general.architecture") + struct.pack("<I", 8) + text(architecture)
    head += text(f"{architecture}.context_length") + struct.pack("<II", 4, context_length)
    head += extra
    for index in range(tensors):
        head += text(f"blk.{index}.weight") + struct.pack("<IQIQ", 1, 8, 0, 32 * index)
    return head + bytes(-len(head) % 32) + bytes(32 * tensors)


def text(value: str) -> bytes:
    """A string as GGUF writes it."""
    return struct.pack("<Q", len(value.encode())) + value.encode()


def a_folder(root: Path, **files: bytes) -> Path:
    """A small model that generates: config, tokenizer, weights. files replace or add, by name with `__` for `.` and `___` for `/`."""
    wanted = {"config__json": json.dumps(CONFIG).encode(), "tokenizer__json": b"{}", "model__safetensors": safetensors(), **files}
    for name, data in wanted.items():
        path = root / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def a_command(folder: Path, **fields: Any) -> VerifyArtifact:
    """The command to verify folder, below a prefix that is its parent."""
    given: dict[str, Any] = {"version_uid": "v1", "artifact": f"file://{folder}/", "prefixes": (f"file://{folder.parent}/",), **fields}
    return VerifyArtifact(**given)


def a_layout(root: Path, **options: Any) -> Layout:
    """A cache's folders that keep nothing in reserve."""
    return Layout(root, **{"reserve_bytes": 0, **options})


def silent(phase: str, done: int, total: int) -> None:
    """A progress that nobody watches."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else works there."""
    with path.open("a") as held:
        fcntl.flock(held.fileno(), fcntl.LOCK_EX)
        yield


_ENSURE = """
import asyncio, sys, msgspec
from pathlib import Path
from fleetform.domain.model import Manifest
from fleetform.host.artifacts import ArtifactCache
from fleetform.host.artifacts.layout import Layout
root, manifest, artifact, *prefixes = sys.argv[1:]
cache = ArtifactCache(Path(root), layout=Layout(Path(root), reserve_bytes=0))
manifest = msgspec.json.decode(manifest, type=Manifest)
asyncio.run(cache.ensure(manifest, artifact, tuple(prefixes), lambda *_: None))
"""


@contextmanager
def another_process(root: Path, manifest: Manifest, artifact: str, prefixes: tuple[str, ...]) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own that ensures the artifact in the cache below root; gone at the end."""
    words = [sys.executable, "-c", _ENSURE, str(root), msgspec.json.encode(manifest).decode(), artifact, *prefixes]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
