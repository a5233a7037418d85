"""The folder an engine loads: complete, checked, shared, evicted only when nobody needs it."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetform.domain.model import Manifest
from fleetform.errors import ArtifactRefused, CacheFull, SourceAway
from fleetform.host.artifacts import ArtifactCache
from tests.host.artifacts import making

pytestmark = pytest.mark.anyio


def a_model(tmp_path: Path, name: str = "m", size: int = 4096) -> Path:
    """A folder whose weights are size bytes that no other name has."""
    weights = making.safetensors({"w": name.encode().ljust(size, b".")})
    return making.a_folder(tmp_path / "models" / name, model__safetensors=weights)


async def verified(cache: ArtifactCache, folder: Path) -> Manifest:
    return await cache.verify(making.a_command(folder), making.silent)


async def ensured(cache: ArtifactCache, manifest: Manifest, folder: Path) -> Path:
    return await cache.ensure(manifest, f"file://{folder}/", (f"file://{folder.parent}/",), making.silent)


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


async def test_verification_fills_the_cache_so_that_the_source_may_go(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = a_model(tmp_path)
    manifest = await verified(cache, folder)
    wanted = {p.name: p.read_bytes() for p in folder.iterdir()}
    shutil.rmtree(folder)
    ready = await ensured(cache, manifest, folder)
    assert {p.name: p.read_bytes() for p in ready.iterdir()} == wanted


async def test_a_host_that_did_not_verify_fetches(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = a_model(tmp_path)
    manifest = await verified(cache, folder)
    forget(tmp_path / "cache")
    seen: list[tuple[str, int, int]] = []
    ready = await cache.ensure(manifest, f"file://{folder}/", (f"file://{folder.parent}/",), lambda *now: seen.append(now))
    assert (ready / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert ("fetch", manifest.size_bytes, manifest.size_bytes) in seen
    assert not (ready / "model.safetensors").stat().st_mode & 0o222


async def test_files_with_the_same_bytes_are_one_blob(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = making.a_folder(tmp_path / "models" / "m", a__txt=b"same", b__txt=b"same", empty__txt=b"", deep___empty__txt=b"")
    manifest = await verified(cache, folder)
    for _ in range(2):
        ready = await ensured(cache, manifest, folder)
        assert (ready / "a.txt").read_bytes() == (ready / "b.txt").read_bytes() == b"same"
        assert (ready / "a.txt").samefile(ready / "b.txt")
        assert len(list((tmp_path / "cache" / "blobs").iterdir())) == len(manifest.files) - 2
        assert list((tmp_path / "cache" / "partial").iterdir()) == []
        forget(tmp_path / "cache")


async def test_prefixes_are_checked_again_even_when_it_is_cached(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = a_model(tmp_path)
    manifest = await verified(cache, folder)
    with pytest.raises(ArtifactRefused) as caught:
        await cache.ensure(manifest, f"file://{folder}/", ("file:///elsewhere/",), making.silent)
    assert caught.value.details["condition_reason"] == "AccessDenied"


async def test_a_bit_flipped_in_the_cache_is_found_and_fetched_again(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = a_model(tmp_path)
    manifest = await verified(cache, folder)
    ready = await ensured(cache, manifest, folder)
    flip_one_bit(ready / "model.safetensors")
    again = await ensured(cache, manifest, folder)
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


async def test_a_bit_flipped_in_the_cache_is_never_handed_out_when_the_source_is_gone(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = a_model(tmp_path)
    manifest = await verified(cache, folder)
    flip_one_bit(await ensured(cache, manifest, folder) / "model.safetensors")
    shutil.rmtree(folder)
    with pytest.raises(ArtifactRefused) as caught:
        await ensured(cache, manifest, folder)
    assert caught.value.details["condition_reason"] == "ArtifactMissing"


@pytest.mark.parametrize("target", ["/etc", "/etc/hostname", "nowhere"])
async def test_a_link_added_in_the_cache_is_not_handed_out(cache: ArtifactCache, tmp_path: Path, target: str) -> None:
    folder = a_model(tmp_path)
    manifest = await verified(cache, folder)
    (await ensured(cache, manifest, folder) / "more").symlink_to(target)
    assert not (await ensured(cache, manifest, folder) / "more").is_symlink()


@pytest.mark.parametrize("name", ["modeling.py", "deep/x.json"])
async def test_a_file_added_in_the_cache_is_not_handed_out(cache: ArtifactCache, tmp_path: Path, name: str) -> None:
    folder = a_model(tmp_path)
    manifest = await verified(cache, folder)
    ready = await ensured(cache, manifest, folder)
    (ready / name).parent.mkdir(exist_ok=True)
    (ready / name).write_text("{}")
    assert not (await ensured(cache, manifest, folder) / name).exists()


async def test_a_bit_flipped_at_the_source_is_refused_with_both_digests(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = a_model(tmp_path)
    manifest = await verified(cache, folder)
    forget(tmp_path / "cache")
    flip_one_bit(folder / "model.safetensors")  # same size, same modification time
    with pytest.raises(ArtifactRefused) as caught:
        await ensured(cache, manifest, folder)
    details = caught.value.details
    assert details["condition_reason"] == "DigestMismatch"
    assert details["expected"] == next(f.sha256 for f in manifest.files if f.path == "model.safetensors")
    assert details["found"] != details["expected"]
    assert details["expected"] in caught.value.message
    assert details["found"] in caught.value.message
    assert list((tmp_path / "cache" / "models").iterdir()) == []


async def test_another_size_at_the_source_is_refused_with_both_digests(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = a_model(tmp_path)
    manifest = await verified(cache, folder)
    forget(tmp_path / "cache")
    (folder / "model.safetensors").write_bytes(b"longer" * 4096)
    with pytest.raises(ArtifactRefused, match="24576 bytes") as caught:
        await ensured(cache, manifest, folder)
    assert caught.value.details["condition_reason"] == "DigestMismatch"


async def test_one_waiter_may_leave_without_stopping_the_others(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = a_model(tmp_path, size=8 << 20)
    manifest = await verified(cache, folder)
    forget(tmp_path / "cache")
    leaving = asyncio.create_task(ensured(cache, manifest, folder))
    staying = asyncio.create_task(ensured(cache, manifest, folder))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying / "model.safetensors").exists()
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_close_ends_waiting(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = a_model(tmp_path)
    manifest = await verified(cache, folder)
    with making.locked(tmp_path / "cache" / "locks" / manifest.digest):
        waiting = asyncio.create_task(ensured(cache, manifest, folder))
        await asyncio.sleep(0)
        await cache.close()
        with pytest.raises(SourceAway):
            await waiting


async def test_the_longest_unused_goes_first_and_pinned_ones_never(tmp_path: Path) -> None:
    layout = making.a_layout(tmp_path / "cache", limit_bytes=60_000)
    cache = ArtifactCache(tmp_path / "cache", layout=layout)
    first, second, third = (a_model(tmp_path, name, 20_000) for name in ("first", "second", "third"))
    pinned, unpinned = await verified(cache, first), await verified(cache, second)
    cache.pin(pinned.digest, "replica-1")
    newest = await verified(cache, third)
    assert {p.name for p in (tmp_path / "cache" / "models").iterdir()} == {pinned.digest, newest.digest}
    assert unpinned.digest not in {p.name for p in (tmp_path / "cache" / "models").iterdir()}
    blobs = {p.name for p in (tmp_path / "cache" / "blobs").iterdir()}
    assert blobs == {f.sha256 for m in (pinned, newest) for f in m.files}, "shared blobs stay, lonely ones go"
    cache.unpin(pinned.digest, "replica-1")
    await ensured(cache, unpinned, second)
    assert pinned.digest not in {p.name for p in (tmp_path / "cache" / "models").iterdir()}
    await cache.close()


async def test_pins_survive_a_restart(tmp_path: Path) -> None:
    first, second = (a_model(tmp_path, name, 20_000) for name in ("first", "second"))
    cache = ArtifactCache(tmp_path / "cache", layout=making.a_layout(tmp_path / "cache"))
    pinned, other = await verified(cache, first), await verified(cache, second)
    cache.pin(pinned.digest, "replica-1")
    await cache.close()
    forget(tmp_path / "cache")
    restarted = ArtifactCache(tmp_path / "cache", layout=making.a_layout(tmp_path / "cache", limit_bytes=30_000))
    await ensured(restarted, pinned, first)
    with pytest.raises(CacheFull):
        await ensured(restarted, other, second)
    await restarted.close()


@pytest.mark.parametrize(("digest", "holder"), [("x" * 64, "r"), ("a" * 64, "../r"), ("a" * 64, ""), ("../a", "r")])
async def test_pins_become_file_names(cache: ArtifactCache, digest: str, holder: str) -> None:
    with pytest.raises(ValueError, match="cannot pin"):
        cache.pin(digest, holder)


async def test_no_room_says_how_much_is_needed(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = a_model(tmp_path)
    manifest = await verified(cache, folder)
    small = ArtifactCache(tmp_path / "small", layout=making.a_layout(tmp_path / "small", free_bytes=lambda: 1000))
    with pytest.raises(CacheFull) as caught:
        await ensured(small, manifest, folder)
    assert caught.value.details == {"needed_bytes": manifest.size_bytes, "free_bytes": 1000}
    assert list((tmp_path / "small" / "models").iterdir()) == []
    await small.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=False).returncode != 0:
        pytest.skip("mounting needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


async def test_a_disk_that_fills_up_meanwhile_leaves_nothing_half_done(small_disk: Path, tmp_path: Path) -> None:
    folder = a_model(tmp_path, size=2 << 20)
    verifying = ArtifactCache(tmp_path / "cache", layout=making.a_layout(tmp_path / "cache"))
    manifest = await verified(verifying, folder)
    await verifying.close()
    # What the file system says is not what it has: others write to it too.
    cache = ArtifactCache(small_disk / "cache", layout=making.a_layout(small_disk / "cache", free_bytes=lambda: 1 << 30))
    with pytest.raises(CacheFull) as caught:
        await ensured(cache, manifest, folder)
    assert caught.value.details["needed_bytes"] > 1 << 20
    assert list((small_disk / "cache" / "models").iterdir()) == []
    await cache.close()
