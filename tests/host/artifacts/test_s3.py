"""Buckets: a real S3 API on loopback, and one that misbehaves."""

import asyncio
import hashlib
import json
import socket
import struct
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import anyio
import boto3
import pytest
from moto.server import ThreadedMotoServer

from fleetform.domain.model import Manifest
from fleetform.domain.protocol import VerifyArtifact
from fleetform.errors import ArtifactRefused, SourceAway
from fleetform.host.artifacts import ArtifactCache
from tests.host.artifacts import making, stub

pytestmark = pytest.mark.anyio
PREFIXES = ("s3://acme/models/",)
ARTIFACT = "s3://acme/models/m/"


def a_command(**fields: object) -> VerifyArtifact:
    return making.a_command(Path("/none"), **{"artifact": ARTIFACT, "prefixes": PREFIXES, **fields})


async def ensured(cache: ArtifactCache, manifest: Manifest) -> Path:
    return await cache.ensure(manifest, ARTIFACT, PREFIXES, making.silent)


class Moto:
    """A bucket `acme` of a real S3 API."""

    def __init__(self, url: str) -> None:
        self.client = boto3.client("s3", endpoint_url=url)
        self.client.create_bucket(Bucket="acme")

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket="acme", Key=key, Body=data)

    def put_model(self, prefix: str = "models/m/") -> None:
        self.put(prefix + "config.json", json.dumps(making.CONFIG).encode())
        self.put(prefix + "tokenizer.json", b"{}")
        self.put(prefix + "model.safetensors", making.safetensors())


@pytest.fixture
def moto(aws: pytest.MonkeyPatch) -> Iterator[Moto]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    aws.setenv("AWS_ENDPOINT_URL", url)
    try:
        yield Moto(url)
    finally:
        # The objects are the process's, not the server's: they would be there for the next test.
        urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST"), timeout=10).close()
        server.stop()


async def test_a_prefix_is_verified_and_fetched(cache: ArtifactCache, moto: Moto, tmp_path: Path) -> None:
    moto.put_model()
    moto.put("models/m/", b"")
    moto.put("models/m/.hidden", b"x")
    moto.put("models/m-of-another/config.json", b"{}")
    moto.put("models/m/deep/notes.txt", b"n")
    manifest = await cache.verify(a_command(), making.silent)
    assert [f.path for f in manifest.files] == ["config.json", "deep/notes.txt", "model.safetensors", "tokenizer.json"]
    assert manifest.files[1].etag == f'"{hashlib.md5(b"n", usedforsecurity=False).hexdigest()}"'
    other = ArtifactCache(tmp_path / "other", layout=making.a_layout(tmp_path / "other"))
    assert (await ensured(other, manifest) / "model.safetensors").read_bytes() == making.safetensors()
    await other.close()


@pytest.mark.parametrize("artifact", ["s3://acme/models/m.gguf", "s3://acme/models/g/"])
async def test_one_object_or_the_prefix_above_it(cache: ArtifactCache, moto: Moto, artifact: str, tmp_path: Path) -> None:
    moto.put("models/m.gguf", making.gguf())
    moto.put("models/g/m.gguf", making.gguf())
    manifest = await cache.verify(a_command(artifact=artifact), making.silent)
    assert [f.path for f in manifest.files] == ["m.gguf"]
    other = ArtifactCache(tmp_path / "other", layout=making.a_layout(tmp_path / "other"))
    folder = await other.ensure(manifest, artifact, PREFIXES, making.silent, convert=False)
    assert (folder / "m.gguf").read_bytes() == making.gguf()
    await other.close()


async def test_a_prefix_without_its_slash(cache: ArtifactCache, moto: Moto) -> None:
    moto.put_model()
    moto.put_model("models/m2/")
    manifest = await cache.verify(a_command(artifact="s3://acme/models/m"), making.silent)
    assert len(manifest.files) == 3


@pytest.mark.parametrize(
    ("artifact", "prefixes"),
    [(ARTIFACT, PREFIXES), ("s3://acme/models/none.gguf", PREFIXES), ("s3://nobucket/x/", ("s3://nobucket/",))],
)
async def test_nothing_there(cache: ArtifactCache, moto: Moto, artifact: str, prefixes: tuple[str, ...]) -> None:
    with pytest.raises(ArtifactRefused) as caught:
        await cache.verify(a_command(artifact=artifact, prefixes=prefixes), making.silent)
    assert caught.value.details["condition_reason"] == "ArtifactMissing"


@pytest.mark.parametrize("key", ["models/m/../../x", "models/m/a//b", "models/m/a\\b", "models/m/%2e%2e/x"])
async def test_keys_that_climb_are_refused(cache: ArtifactCache, bucket: stub.Bucket, key: str) -> None:
    bucket.objects = {"models/m/config.json": b"{}", key: b"x"}
    with pytest.raises(ArtifactRefused) as caught:
        await cache.verify(a_command(), making.silent)
    assert caught.value.details["condition_reason"] == "AccessDenied"


async def test_an_overwritten_object_is_refused_with_both_digests(moto: Moto, cache: ArtifactCache, tmp_path: Path) -> None:
    moto.put_model()
    manifest = await cache.verify(a_command(), making.silent)
    changed = making.safetensors({"weight": bytes(64)})
    moto.put("models/m/model.safetensors", changed)
    other = ArtifactCache(tmp_path / "other", layout=making.a_layout(tmp_path / "other"))
    with pytest.raises(ArtifactRefused) as caught:
        await ensured(other, manifest)
    assert caught.value.details["condition_reason"] == "DigestMismatch"
    assert caught.value.details["found"] == hashlib.sha256(changed).hexdigest()
    assert await ensured(cache, manifest), "what was verified is still served from the cache"
    await other.close()


async def test_a_deleted_object_is_named(moto: Moto, cache: ArtifactCache, tmp_path: Path) -> None:
    moto.put_model()
    manifest = await cache.verify(a_command(), making.silent)
    moto.client.delete_object(Bucket="acme", Key="models/m/tokenizer.json")
    other = ArtifactCache(tmp_path / "other", layout=making.a_layout(tmp_path / "other"))
    with pytest.raises(ArtifactRefused, match="tokenizer") as caught:
        await ensured(other, manifest)
    assert caught.value.details["condition_reason"] == "ArtifactMissing"
    await other.close()


async def test_no_credentials(cache: ArtifactCache, bucket: stub.Bucket, aws: pytest.MonkeyPatch) -> None:
    aws.delenv("AWS_ACCESS_KEY_ID")
    aws.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ArtifactRefused, match="no credentials") as caught:
        await cache.verify(a_command(), making.silent)
    assert caught.value.details["condition_reason"] == "AccessDenied"


async def test_no_permission(cache: ArtifactCache, bucket: stub.Bucket) -> None:
    put_model(bucket)
    manifest = await cache.verify(a_command(), making.silent)
    bucket.refuses_with = 403
    with pytest.raises(ArtifactRefused, match="may not read s3://acme/models/m/") as caught:
        await cache.verify(a_command(), making.silent)
    assert caught.value.details["condition_reason"] == "AccessDenied"
    assert await ensured(cache, manifest), "the cache needs no permission"


def put_model(bucket: stub.Bucket, size: int = 1 << 20) -> None:
    bucket.objects = {
        "models/m/config.json": json.dumps(making.CONFIG).encode(),
        "models/m/tokenizer.json": b"{}",
        "models/m/model.safetensors": making.safetensors({"w": bytes(range(256)) * (size // 256)}),
    }


WEIGHTS = "models/m/model.safetensors"


async def test_nothing_listens(cache: ArtifactCache, aws: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        aws.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(SourceAway):
            await cache.verify(a_command(), making.silent)


async def test_an_outage_is_waited_out_and_then_given_up(cache: ArtifactCache, bucket: stub.Bucket) -> None:
    put_model(bucket)
    manifest = await cache.verify(a_command(), making.silent)
    bucket.refuses_with = 503
    assert await ensured(cache, manifest), "the cache needs no source"
    with pytest.raises(SourceAway, match="sent nothing of use"):
        await cache.verify(a_command(), making.silent)


async def test_a_short_outage_is_not_noticed(cache: ArtifactCache, bucket: stub.Bucket) -> None:
    put_model(bucket)
    failures = iter([True, True, True])

    def fail(handler: BaseHTTPRequestHandler, key: str, offset: int, data: bytes) -> bool:
        if key != WEIGHTS or not next(failures, False):
            return False
        handler.send_response(503)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    bucket.misbehave = fail
    assert (await cache.verify(a_command(), making.silent)).files
    assert next(failures, None) is None


@pytest.mark.parametrize("how", ["reset", "early end", "stall"])
async def test_a_broken_transfer_goes_on_where_it_was(cache: ArtifactCache, bucket: stub.Bucket, how: str) -> None:
    put_model(bucket)
    broken = iter([True])

    def break_off(handler: BaseHTTPRequestHandler, key: str, offset: int, data: bytes) -> bool:
        if key != WEIGHTS or not next(broken, False):
            return False
        stub.begin_body(handler, data, data[: 512 << 10])
        if how == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "stall":
            bucket.released.wait(30)
        handler.close_connection = True
        handler.connection.close()
        return True

    bucket.misbehave = break_off
    manifest = await cache.verify(a_command(), making.silent)
    sha256 = next(f.sha256 for f in manifest.files if f.path == "model.safetensors")
    assert sha256 == hashlib.sha256(bucket.objects[WEIGHTS]).hexdigest()
    offsets = [offset for key, offset in bucket.gets if key == WEIGHTS]
    assert len(offsets) == 2
    assert offsets[0] == 0
    if how != "reset":  # a reset may throw away what had arrived
        assert 0 < offsets[1] <= 512 << 10


async def test_an_object_overwritten_while_it_is_read_is_not_spliced(cache: ArtifactCache, bucket: stub.Bucket) -> None:
    put_model(bucket)
    once = iter([True])

    def overwrite(handler: BaseHTTPRequestHandler, key: str, offset: int, data: bytes) -> bool:
        if key != WEIGHTS or not next(once, False):
            return False
        stub.begin_body(handler, data, data[: 512 << 10])
        bucket.objects[WEIGHTS] = making.safetensors({"w": bytes(1 << 20)})
        handler.close_connection = True
        return True

    bucket.misbehave = overwrite
    with pytest.raises(SourceAway, match="overwritten"):
        await cache.verify(a_command(), making.silent)
    manifest = await cache.verify(a_command(), making.silent)
    sha256 = next(f.sha256 for f in manifest.files if f.path == "model.safetensors")
    assert sha256 == hashlib.sha256(bucket.objects[WEIGHTS]).hexdigest()


async def test_twenty_at_once_fetch_once(cache: ArtifactCache, bucket: stub.Bucket, tmp_path: Path) -> None:
    put_model(bucket)
    manifest = await cache.verify(a_command(), making.silent)
    bucket.gets.clear()
    other = ArtifactCache(tmp_path / "other", layout=making.a_layout(tmp_path / "other"))
    folders: set[Path] = set()

    async def one() -> None:
        folders.add(await ensured(other, manifest))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(one)
    assert len(folders) == 1
    assert sorted(key for key, _ in bucket.gets) == sorted(bucket.objects)
    await other.close()


async def test_the_last_waiter_to_leave_stops_the_transfer_and_the_next_resumes_it(
    cache: ArtifactCache, bucket: stub.Bucket, tmp_path: Path
) -> None:
    put_model(bucket)
    manifest = await cache.verify(a_command(), making.silent)
    other = ArtifactCache(tmp_path / "other", layout=making.a_layout(tmp_path / "other"))
    half_sent = threading.Event()

    def pause(handler: BaseHTTPRequestHandler, key: str, offset: int, data: bytes) -> bool:
        if key != WEIGHTS or half_sent.is_set():
            return False
        stub.begin_body(handler, data, data[: 512 << 10])
        half_sent.set()
        bucket.released.wait(30)
        handler.close_connection = True
        return True

    bucket.misbehave = pause
    bucket.gets.clear()
    with anyio.move_on_after(30) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(ensured, other, manifest)
            await anyio.to_thread.run_sync(half_sent.wait)
            partial = tmp_path / "other" / "partial"
            while not any(p.stat().st_size for p in partial.glob("*")):
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()
    assert not scope.cancelled_caught
    bucket.released.set()
    assert (await ensured(other, manifest) / "model.safetensors").read_bytes() == bucket.objects[WEIGHTS]
    assert [offset for key, offset in bucket.gets if key == WEIGHTS][-1] > 0
    await other.close()


async def test_a_leader_that_is_killed_hands_over(cache: ArtifactCache, bucket: stub.Bucket, tmp_path: Path) -> None:
    put_model(bucket, size=4 << 20)
    manifest = await cache.verify(a_command(), making.silent)
    other = ArtifactCache(tmp_path / "other", layout=making.a_layout(tmp_path / "other"))
    half_sent = threading.Event()

    def pause(handler: BaseHTTPRequestHandler, key: str, offset: int, data: bytes) -> bool:
        if key != WEIGHTS or half_sent.is_set():
            return False
        stub.begin_body(handler, data, data[: 2 << 20])
        half_sent.set()
        bucket.released.wait(30)
        handler.close_connection = True
        return True

    bucket.misbehave = pause
    bucket.gets.clear()
    with making.another_process(tmp_path / "other", manifest, ARTIFACT, PREFIXES) as leader:
        assert await anyio.to_thread.run_sync(half_sent.wait, 30)
        partial = tmp_path / "other" / "partial"
        while not any(p.stat().st_size for p in partial.glob("*")):
            await anyio.sleep(0.01)
        following = asyncio.create_task(ensured(other, manifest))
        await asyncio.sleep(0)
        leader.kill()
        folder = await following
    assert (folder / "model.safetensors").read_bytes() == bucket.objects[WEIGHTS]
    offsets = [offset for key, offset in bucket.gets if key == WEIGHTS]
    assert offsets[0] == 0
    assert offsets[1] > 0, "the follower goes on where the leader was killed"
    await other.close()
