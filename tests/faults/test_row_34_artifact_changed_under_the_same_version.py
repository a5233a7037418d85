"""Row 34: what changed after it was registered is never loaded. Size and time prove nothing."""

import hashlib
from pathlib import Path

import pytest

from fleetform.errors import ArtifactRefused
from fleetform.host.artifacts import ArtifactCache
from tests.host.artifacts import making, stub
from tests.host.artifacts.asking import (
    WEIGHTS,
    a_bucket_command,
    a_model,
    ensured,
    ensured_from_bucket,
    flip_one_bit,
    forget,
    put_model,
    verified,
)

pytestmark = pytest.mark.anyio


async def test_row_34_a_file_with_the_same_size_and_time_is_refused_with_both_digests(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = a_model(tmp_path)
    manifest = await verified(cache, folder)
    forget(tmp_path / "cache")
    flip_one_bit(folder / "model.safetensors")
    with pytest.raises(ArtifactRefused) as caught:
        await ensured(cache, manifest, folder)
    details = caught.value.details
    assert details["condition_reason"] == "DigestMismatch"
    assert details["expected"] == next(f.sha256 for f in manifest.files if f.path == "model.safetensors")
    assert details["found"] != details["expected"]
    assert details["expected"] in caught.value.message
    assert details["found"] in caught.value.message
    assert list((tmp_path / "cache" / "models").iterdir()) == []


async def test_row_34_an_overwritten_object_is_refused_and_the_cached_one_still_serves(
    bucket: stub.Bucket, cache: ArtifactCache, tmp_path: Path
) -> None:
    put_model(bucket)
    manifest = await cache.verify(a_bucket_command(), making.silent)
    changed = bytearray(bucket.objects[WEIGHTS])
    changed[-1] ^= 1
    bucket.objects[WEIGHTS] = bytes(changed)
    other = ArtifactCache(tmp_path / "other", layout=making.a_layout(tmp_path / "other"))
    with pytest.raises(ArtifactRefused) as caught:
        await ensured_from_bucket(other, manifest)
    assert caught.value.details["condition_reason"] == "DigestMismatch"
    assert caught.value.details["found"] == hashlib.sha256(changed).hexdigest()
    assert await ensured_from_bucket(cache, manifest), "what was verified is still served from the cache"
    await other.close()
