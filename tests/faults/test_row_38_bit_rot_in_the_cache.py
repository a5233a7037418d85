"""Row 38: a cached file that rots or cannot be read any more is found before a load and fetched again; without a source it is refused."""

import shutil
from pathlib import Path

import pytest

from fleetform.errors import ArtifactRefused
from fleetform.host.artifacts import ArtifactCache
from tests.faults.small_disks import disk_image, make_unreadable
from tests.host.artifacts import making
from tests.host.artifacts.asking import a_model, ensured, flip_one_bit, verified

pytestmark = pytest.mark.anyio


async def test_row_38_a_flipped_bit_is_found_and_fetched_again(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = a_model(tmp_path)
    manifest = await verified(cache, folder)
    ready = await ensured(cache, manifest, folder)
    flip_one_bit(ready / "model.safetensors")
    again = await ensured(cache, manifest, folder)
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


async def test_row_38_a_flipped_bit_is_never_handed_out_when_the_source_is_gone(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = a_model(tmp_path)
    manifest = await verified(cache, folder)
    flip_one_bit(await ensured(cache, manifest, folder) / "model.safetensors")
    shutil.rmtree(folder)
    with pytest.raises(ArtifactRefused) as caught:
        await ensured(cache, manifest, folder)
    assert caught.value.details["condition_reason"] == "ArtifactMissing"


async def test_row_38_a_disk_that_cannot_read_a_block_is_a_damage_like_any_other(tmp_path: Path) -> None:
    """The disk's image is cut short under the mounted file system: reading what lay behind it is EIO from the kernel."""
    folder = a_model(tmp_path, size=8 << 20)
    with disk_image(tmp_path / "image", tmp_path / "disk", 64) as disk:
        cache = ArtifactCache(disk / "cache", layout=making.a_layout(disk / "cache"))
        manifest = await verified(cache, folder)
        weights = await ensured(cache, manifest, folder) / "model.safetensors"
        make_unreadable(weights, tmp_path / "image")
        with pytest.raises(OSError, match="Input/output error"):
            weights.read_bytes()
        again = await ensured(cache, manifest, folder)
        assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
        await cache.close()
