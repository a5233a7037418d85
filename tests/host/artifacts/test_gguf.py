"""GGUF headers, good and abusive."""

import contextlib
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetform.host.artifacts import gguf
from fleetform.host.artifacts.gguf import BadHeader, Short
from tests.host.artifacts import making


def array(kind: int, count: int, body: bytes = b"") -> bytes:
    return making.text("x") + struct.pack("<IIQ", 9, kind, count) + body


def test_a_good_header() -> None:
    data = making.gguf(tensors=3, context_length=4096)
    found = gguf.read_header(data, len(data))
    assert found == gguf.Gguf(architecture="llama", context_length=4096, dtype="float32", parameters=24, tensors=3, parts=1)


def test_lists_are_skipped() -> None:
    extra = array(8, 2, making.text("a") + making.text("b")) + array(6, 3, bytes(12))
    data = making.gguf(extra=extra, pairs=2)
    assert gguf.read_header(data, len(data)).architecture == "llama"


def test_every_shorter_beginning_asks_for_more() -> None:
    data = making.gguf()
    for length in range(4, len(data) - 32 - 32):
        with pytest.raises(Short):
            gguf.read_header(data[:length], len(data))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("other magic", b"GGML" + bytes(100)),
        ("version 1", b"GGUF" + struct.pack("<IQQ", 1, 0, 0)),
        ("big-endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0)),
        ("2^60 tensors", b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0)),
        ("2^60 pairs", b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60)),
        ("no architecture", b"GGUF" + struct.pack("<IQQ", 3, 0, 0)),
        ("string of 2^63", b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 63)),
        ("list of 2^60", making.gguf(extra=array(8, 1 << 60), pairs=1)),
        ("list of unknown type", making.gguf(extra=array(77, 1, bytes(8)), pairs=1)),
        ("lists in lists in lists", making.gguf(extra=array(9, 1, struct.pack("<IQIQ", 9, 1, 9, 1)), pairs=1)),
        ("tensors cut short", making.gguf()[:-1]),
    ],
)
def test_abuse_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(BadHeader):
        gguf.read_header(data, len(data))


def test_long_strings_are_not_held() -> None:
    body = b"".join(making.text(f"k{i}") + struct.pack("<IQ", 8, 1 << 20) + bytes(1 << 20) for i in range(20))
    data = making.gguf(extra=body, pairs=20)
    tracemalloc.start()
    gguf.read_header(data, len(data))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_be_refused_or_read(data: bytes) -> None:
    with contextlib.suppress(BadHeader, Short):
        gguf.read_header(b"GGUF" + struct.pack("<I", 3) + data, len(data) + 8)


@given(st.data())
def test_no_flipped_byte_escapes(data: st.DataObject) -> None:
    good = bytearray(making.gguf())
    good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadHeader, Short):
        gguf.read_header(bytes(good), len(good))
