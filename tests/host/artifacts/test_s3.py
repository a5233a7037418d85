"""Buckets: a real S3 API on loopback, and one that misbehaves."""

import contextlib
import hashlib
import json
import socket
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from unittest import mock

import anyio
import boto3
import pytest
from botocore.exceptions import CredentialRetrievalError
from moto.server import ThreadedMotoServer

from fleetform.errors import ArtifactRefused, SourceAway
from fleetform.host.artifacts import ArtifactCache, s3
from fleetform.host.artifacts.location import locate
from fleetform.host.artifacts.sources import Stop
from tests.host.artifacts import making, stub
from tests.host.artifacts.asking import ARTIFACT, PREFIXES, WEIGHTS, put_model, until_half_is_here
from tests.host.artifacts.asking import a_bucket_command as a_command
from tests.host.artifacts.asking import ensured_from_bucket as ensured

pytestmark = pytest.mark.anyio


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


async def test_a_deleted_object_is_named(moto: Moto, cache: ArtifactCache, tmp_path: Path) -> None:
    moto.put_model()
    manifest = await cache.verify(a_command(), making.silent)
    moto.client.delete_object(Bucket="acme", Key="models/m/tokenizer.json")
    other = ArtifactCache(tmp_path / "other", layout=making.a_layout(tmp_path / "other"))
    with pytest.raises(ArtifactRefused, match="tokenizer") as caught:
        await ensured(other, manifest)
    assert caught.value.details["condition_reason"] == "ArtifactMissing"
    await other.close()


@pytest.mark.parametrize("begin", [0, 600, 700, 1000, 2499])
@pytest.mark.parametrize("lie", ["no ranges", "more than was asked for"])
def test_a_server_that_sends_more_than_a_range(lie: str, begin: int, bucket: stub.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "RANGE_BYTES", 1000)
    monkeypatch.setattr(s3, "CHUNK_BYTES", 300)
    data = bytes(number % 251 for number in range(2500))
    bucket.objects["models/m/x"] = data

    def sends_more(handler: BaseHTTPRequestHandler, key: str, offset: int, asked: bytes) -> bool:
        sent = data if lie == "no ranges" else data[offset:]
        handler.send_response(200 if lie == "no ranges" else 206)
        handler.send_header("Content-Length", str(len(sent)))
        handler.end_headers()
        with contextlib.suppress(OSError):  # whoever has enough goes away
            handler.wfile.write(sent)
        return True

    bucket.misbehave = sends_more
    source = s3.S3Source(locate("s3://acme/models/m/", ("s3://acme/",)), s3.S3Options())
    (file,) = source.files(Stop())
    chunks = list(source.read(file, begin, Stop()))
    assert b"".join(chunks) == data[begin:]
    assert max(map(len, chunks)) <= 300


async def test_no_credentials(cache: ArtifactCache, bucket: stub.Bucket, aws: pytest.MonkeyPatch) -> None:
    aws.delenv("AWS_ACCESS_KEY_ID")
    aws.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ArtifactRefused, match="no credentials") as caught:
        await cache.verify(a_command(), making.silent)
    assert caught.value.details["condition_reason"] == "AccessDenied"


async def test_credentials_that_cannot_be_had_just_now_refuse_nothing_for_good(
    cache: ArtifactCache, bucket: stub.Bucket, aws: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A refusal is final, and whoever hands out credentials may be away like the bucket itself: at once, or when they are renewed."""
    put_model(bucket)
    with aws.context() as expired:
        away = CredentialRetrievalError(provider="iam-role", error_msg="Credential refresh failed")
        expired.setattr("botocore.client.BaseClient._make_api_call", mock.Mock(side_effect=away))
        with pytest.raises(SourceAway, match="CredentialRetrievalError"):
            await cache.verify(a_command(), making.silent)
    (tmp_path / "config").write_text("[default]\ncredential_process = /bin/false\n")
    aws.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    aws.delenv("AWS_ACCESS_KEY_ID")
    aws.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(SourceAway, match=r"CredentialRetrievalError.*AWS_"):
        await cache.verify(a_command(), making.silent)


async def test_no_permission(cache: ArtifactCache, bucket: stub.Bucket) -> None:
    put_model(bucket)
    manifest = await cache.verify(a_command(), making.silent)
    bucket.refuses_with = 403
    with pytest.raises(ArtifactRefused, match="may not read s3://acme/models/m/") as caught:
        await cache.verify(a_command(), making.silent)
    assert caught.value.details["condition_reason"] == "AccessDenied"
    assert await ensured(cache, manifest), "the cache needs no permission"


async def test_nothing_listens(cache: ArtifactCache, aws: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        aws.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(SourceAway):
            await cache.verify(a_command(), making.silent)


async def test_the_last_waiter_to_leave_stops_the_transfer_and_the_next_resumes_it(
    cache: ArtifactCache, bucket: stub.Bucket, tmp_path: Path
) -> None:
    put_model(bucket)
    manifest = await cache.verify(a_command(), making.silent)
    other = ArtifactCache(tmp_path / "other", layout=making.a_layout(tmp_path / "other"))
    half_sent = bucket.pause_half_way(WEIGHTS)
    bucket.gets.clear()
    with anyio.move_on_after(30) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(ensured, other, manifest)
            await until_half_is_here(tmp_path / "other", half_sent)
            group.cancel_scope.cancel()
    assert not scope.cancelled_caught
    bucket.released.set()
    assert (await ensured(other, manifest) / "model.safetensors").read_bytes() == bucket.objects[WEIGHTS]
    assert [offset for key, offset in bucket.gets if key == WEIGHTS][-1] > 0
    await other.close()
