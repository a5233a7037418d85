"""The folder an engine loads: complete, checked, shared, evicted only when nobody needs it."""

import asyncio
import errno
import shutil
from pathlib import Path
from unittest import mock

import pytest

from fleetform.errors import ArtifactRefused, CacheFull, SourceAway
from fleetform.host.artifacts import ArtifactCache
from fleetform.host.artifacts.layout import Layout
from fleetform.host.artifacts.sources import SourceFile, Stop
from fleetform.host.artifacts.transfer import receive
from tests.host.artifacts import making
from tests.host.artifacts.asking import a_model, ensured, forget, verified

pytestmark = pytest.mark.anyio


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


async def test_a_cache_that_was_removed_is_filled_again(cache: ArtifactCache, tmp_path: Path) -> None:
    """By somebody who needed room, while its host goes on."""
    folder = a_model(tmp_path)
    manifest = await verified(cache, folder)
    shutil.rmtree(tmp_path / "cache")
    cache.pin(manifest.digest, "r1")
    ready = await ensured(cache, manifest, folder)
    assert (ready / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "cache")
    assert await verified(cache, folder) == manifest


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


def test_an_artifact_that_another_start_has_evicted_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two starts that need room at once have both listed what may go."""
    old = tmp_path / "models" / "old"
    layout = Layout(tmp_path, reserve_bytes=0, free_bytes=lambda: 0 if old.exists() else 100)
    old.mkdir()
    monkeypatch.setattr(layout, "_evictable", lambda keep: ["gone", "old"])
    layout.make_room(50)
    assert not old.exists()


def test_a_disk_on_which_no_file_can_be_begun_is_a_full_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "open", mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    file = SourceFile(path="a", size=10, origin="/a", version="1")
    with pytest.raises(CacheFull) as caught:
        receive(mock.Mock(), file, tmp_path / "partial", None, Stop(), mock.Mock())
    assert caught.value.details["needed_bytes"] == 10
