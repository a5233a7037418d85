"""What tests ask of a cache, for a folder on disk and for the bucket on loopback."""

import json
import os
import shutil
import threading
from pathlib import Path

import anyio

from fleetform.domain.model import Manifest
from fleetform.domain.protocol import VerifyArtifact
from fleetform.host.artifacts import ArtifactCache
from tests.host.artifacts import making, stub

PREFIXES = ("s3://acme/models/",)
ARTIFACT = "s3://acme/models/m/"
WEIGHTS = "models/m/model.safetensors"


def a_model(tmp_path: Path, name: str = "m", size: int = 4096) -> Path:
    """A folder whose weights are size bytes that no other name has."""
    weights = making.safetensors({"w": name.encode().ljust(size, b".")})
    return making.a_folder(tmp_path / "models" / name, model__safetensors=weights)


async def verified(cache: ArtifactCache, folder: Path) -> Manifest:
    """The manifest of a folder."""
    return await cache.verify(making.a_command(folder), making.silent)


async def ensured(cache: ArtifactCache, manifest: Manifest, folder: Path) -> Path:
    """Where an engine would load the artifact of folder from."""
    return await cache.ensure(manifest, f"file://{folder}/", (f"file://{folder.parent}/",), making.silent)


def a_bucket_command(**fields: object) -> VerifyArtifact:
    """The command to verify the model in the bucket."""
    return making.a_command(Path("/none"), **{"artifact": ARTIFACT, "prefixes": PREFIXES, **fields})


async def ensured_from_bucket(cache: ArtifactCache, manifest: Manifest) -> Path:
    """Where an engine would load the bucket's model from."""
    return await cache.ensure(manifest, ARTIFACT, PREFIXES, making.silent)


def put_model(bucket: stub.Bucket, size: int = 1 << 20) -> None:
    """A model with weights of size bytes in the bucket."""
    bucket.objects = {
        "models/m/config.json": json.dumps(making.CONFIG).encode(),
        "models/m/tokenizer.json": b"{}",
        WEIGHTS: making.safetensors({"w": bytes(range(256)) * (size // 256)}),
    }


async def until_half_is_here(cache_root: Path, half_sent: threading.Event) -> None:
    """Until the bucket has sent half of the weights, and some of that is in the cache."""
    assert await anyio.to_thread.run_sync(half_sent.wait, 30)
    # The other files are smaller than any part of the weights that the bucket sends.
    while not any(file.stat().st_size > 1024 for file in (cache_root / "partial").iterdir()):
        await anyio.sleep(0.01)


def forget(cache_root: Path) -> None:
    """The cache as if nothing had ever been fetched."""
    for name in ("blobs", "models"):
        shutil.rmtree(cache_root / name)
        (cache_root / name).mkdir()


def flip_one_bit(file: Path) -> None:
    """Damages file as a disk does: in place, with its times unchanged."""
    before = file.stat()
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x10
    file.write_bytes(bytes(data))
    file.chmod(before.st_mode & 0o777)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
