"""Row 36: a full cache evicts the longest unused and never what is pinned; what does not fit leaves nothing half done and says its size."""

from pathlib import Path

import pytest

from fleetform.errors import CacheFull
from fleetform.host.artifacts import ArtifactCache
from tests.faults.small_disks import tmpfs
from tests.host.artifacts import making
from tests.host.artifacts.asking import a_model, ensured, verified

pytestmark = pytest.mark.anyio


async def test_row_36_the_longest_unused_goes_first_and_pinned_ones_never(tmp_path: Path) -> None:
    """On a disk of 32 MiB, of models of 12 MiB."""
    with tmpfs(tmp_path / "disk", 32) as disk:
        root = disk / "cache"
        cache = ArtifactCache(root, layout=making.a_layout(root))
        first, second, third = (a_model(tmp_path, name, 12 << 20) for name in ("first", "second", "third"))
        pinned, unpinned = await verified(cache, first), await verified(cache, second)
        cache.pin(pinned.digest, "replica-1")
        newest = await verified(cache, third)
        assert {p.name for p in (root / "models").iterdir()} == {pinned.digest, newest.digest}
        blobs = {p.name for p in (root / "blobs").iterdir()}
        assert blobs == {f.sha256 for m in (pinned, newest) for f in m.files}, "shared blobs stay, lonely ones go"
        cache.unpin(pinned.digest, "replica-1")
        await ensured(cache, unpinned, second)
        assert pinned.digest not in {p.name for p in (root / "models").iterdir()}
        await cache.close()


async def test_row_36_no_room_says_how_much_is_needed_and_evicts_nothing_that_is_pinned(tmp_path: Path) -> None:
    verifying = ArtifactCache(tmp_path / "cache", layout=making.a_layout(tmp_path / "cache"))
    first, second = (a_model(tmp_path, name, 20 << 20) for name in ("first", "second"))
    pinned, other = await verified(verifying, first), await verified(verifying, second)
    await verifying.close()
    with tmpfs(tmp_path / "disk", 32) as disk:
        root = disk / "cache"
        cache = ArtifactCache(root, layout=making.a_layout(root))
        await ensured(cache, pinned, first)
        cache.pin(pinned.digest, "replica-1")
        with pytest.raises(CacheFull) as caught:
            await ensured(cache, other, second)
        assert caught.value.details["needed_bytes"] > 20 << 20
        assert caught.value.details["free_bytes"] < 12 << 20
        assert [p.name for p in (root / "models").iterdir()] == [pinned.digest]
        assert (await ensured(cache, pinned, first) / "model.safetensors").read_bytes() == (first / "model.safetensors").read_bytes()
        await cache.close()


async def test_row_36_a_disk_that_fills_up_meanwhile_leaves_nothing_half_done(tmp_path: Path) -> None:
    folder = a_model(tmp_path, size=40 << 20)
    verifying = ArtifactCache(tmp_path / "cache", layout=making.a_layout(tmp_path / "cache"))
    manifest = await verified(verifying, folder)
    await verifying.close()
    with tmpfs(tmp_path / "disk", 32) as disk:
        # What the file system says is not what it has: others write to it too.
        cache = ArtifactCache(disk / "cache", layout=making.a_layout(disk / "cache", free_bytes=lambda: 1 << 30))
        with pytest.raises(CacheFull) as caught:
            await ensured(cache, manifest, folder)
        assert caught.value.details["needed_bytes"] > 8 << 20, "what is left to fetch"
        assert list((disk / "cache" / "models").iterdir()) == []
        assert [p for p in (disk / "cache" / "blobs").iterdir() if p.name == manifest.files[1].sha256] == []
        await cache.close()
