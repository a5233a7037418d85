"""Row 37: many who want one model fetch it once; when the one that fetches is killed, another goes on where it was."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest

from fleetform.host.artifacts import ArtifactCache
from tests.host.artifacts import making, stub
from tests.host.artifacts.asking import ARTIFACT, PREFIXES, WEIGHTS, a_bucket_command, ensured_from_bucket, put_model, until_half_is_here

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


async def test_row_37_twenty_at_once_fetch_once(cache: ArtifactCache, bucket: stub.Bucket, tmp_path: Path) -> None:
    put_model(bucket)
    manifest = await cache.verify(a_bucket_command(), making.silent)
    bucket.gets.clear()
    other = ArtifactCache(tmp_path / "other", layout=making.a_layout(tmp_path / "other"))
    folders: set[Path] = set()

    async def one() -> None:
        folders.add(await ensured_from_bucket(other, manifest))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(one)
    assert len(folders) == 1
    assert sorted(key for key, _ in bucket.gets) == sorted(bucket.objects)
    await other.close()


async def test_row_37_four_processes_fetch_once(cache: ArtifactCache, bucket: stub.Bucket, tmp_path: Path) -> None:
    """Processes share nothing but the folder."""
    put_model(bucket, size=4 << 20)
    manifest = await cache.verify(a_bucket_command(), making.silent)
    bucket.gets.clear()
    with ExitStack() as stack:
        several = [stack.enter_context(making.another_process(tmp_path / "other", manifest, ARTIFACT, PREFIXES)) for _ in range(4)]
        for process in several:
            assert await anyio.to_thread.run_sync(process.wait) == 0
    assert sorted(key for key, _ in bucket.gets) == sorted(bucket.objects)


async def test_row_37_a_leader_that_is_killed_hands_over(cache: ArtifactCache, bucket: stub.Bucket, tmp_path: Path) -> None:
    put_model(bucket, size=4 << 20)
    manifest = await cache.verify(a_bucket_command(), making.silent)
    other = ArtifactCache(tmp_path / "other", layout=making.a_layout(tmp_path / "other"))
    half_sent = bucket.pause_half_way(WEIGHTS)
    bucket.gets.clear()
    with making.another_process(tmp_path / "other", manifest, ARTIFACT, PREFIXES) as leader:
        await until_half_is_here(tmp_path / "other", half_sent)
        following = asyncio.create_task(ensured_from_bucket(other, manifest))
        await asyncio.sleep(0)
        leader.kill()
        folder = await following
    assert (folder / "model.safetensors").read_bytes() == bucket.objects[WEIGHTS]
    offsets = [offset for key, offset in bucket.gets if key == WEIGHTS]
    assert offsets[0] == 0
    assert offsets[1] > 0, "the follower goes on where the leader was killed"
    await other.close()
