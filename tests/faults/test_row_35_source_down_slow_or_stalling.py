"""Row 35: a bucket that is away, slow, resets, ends early or stalls: waited out, resumed where it was, given up at a deadline.

What is cached starts without the source.
"""

import hashlib
import socket
import struct
import time
from http.server import BaseHTTPRequestHandler

import pytest

from fleetform.errors import SourceAway
from fleetform.host.artifacts import ArtifactCache
from tests.host.artifacts import making, stub
from tests.host.artifacts.asking import WEIGHTS, a_bucket_command, ensured_from_bucket, put_model

pytestmark = pytest.mark.anyio


async def test_row_35_an_outage_is_waited_out_and_then_given_up_and_the_cache_needs_no_source(
    cache: ArtifactCache, bucket: stub.Bucket
) -> None:
    put_model(bucket)
    manifest = await cache.verify(a_bucket_command(), making.silent)
    bucket.refuses_with = 503
    assert await ensured_from_bucket(cache, manifest), "the cache needs no source"
    begun = time.monotonic()
    with pytest.raises(SourceAway, match="sent nothing of use"):
        await cache.verify(a_bucket_command(), making.silent)
    assert time.monotonic() - begun < 10


async def test_row_35_a_short_outage_is_not_noticed(cache: ArtifactCache, bucket: stub.Bucket) -> None:
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
    assert (await cache.verify(a_bucket_command(), making.silent)).files
    assert next(failures, None) is None


@pytest.mark.parametrize("how", ["reset", "early end", "stall"])
async def test_row_35_a_broken_transfer_goes_on_where_it_was(cache: ArtifactCache, bucket: stub.Bucket, how: str) -> None:
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
    manifest = await cache.verify(a_bucket_command(), making.silent)
    sha256 = next(f.sha256 for f in manifest.files if f.path == "model.safetensors")
    assert sha256 == hashlib.sha256(bucket.objects[WEIGHTS]).hexdigest()
    offsets = [offset for key, offset in bucket.gets if key == WEIGHTS]
    assert len(offsets) == 2
    assert offsets[0] == 0
    if how != "reset":  # a reset may throw away what had arrived
        assert 0 < offsets[1] <= 512 << 10


async def test_row_35_a_slow_source_is_not_given_up_while_it_sends(cache: ArtifactCache, bucket: stub.Bucket) -> None:
    """Longer than the deadline for silence, in pieces that each come in time."""
    put_model(bucket)

    def trickle(handler: BaseHTTPRequestHandler, key: str, offset: int, data: bytes) -> bool:
        if key != WEIGHTS:
            return False
        stub.begin_body(handler, data, b"")
        piece = len(data) // 15
        for begin in range(0, len(data), piece):
            bucket.released.wait(0.2)
            handler.wfile.write(data[begin : begin + piece])
        return True

    bucket.misbehave = trickle
    begun = time.monotonic()
    assert (await cache.verify(a_bucket_command(), making.silent)).files
    assert time.monotonic() - begun > 2.5, "the whole took longer than what silence is allowed"
    assert len([key for key, _ in bucket.gets if key == WEIGHTS]) == 1


async def test_row_35_an_object_overwritten_while_it_is_read_is_not_spliced(cache: ArtifactCache, bucket: stub.Bucket) -> None:
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
        await cache.verify(a_bucket_command(), making.silent)
    manifest = await cache.verify(a_bucket_command(), making.silent)
    sha256 = next(f.sha256 for f in manifest.files if f.path == "model.safetensors")
    assert sha256 == hashlib.sha256(bucket.objects[WEIGHTS]).hexdigest()
