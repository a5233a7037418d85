"""Safetensors headers, good and abusive."""

import contextlib
import json
import struct
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetform.host.artifacts import safetensors
from fleetform.host.artifacts.safetensors import BadHeader
from tests.host.artifacts import making


def read(data: bytes) -> safetensors.Safetensors:
    length = safetensors.header_length(data[:8], len(data))
    return safetensors.read_header(data[8 : 8 + length], len(data))


def header(**tensors: object) -> bytes:
    return making.framed(json.dumps(tensors).encode())


def a_tensor(begin: int, end: int, *, shape: object = None, dtype: str = "U8") -> dict[str, object]:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


def test_a_good_file_tells_its_main_type() -> None:
    assert read(making.safetensors(dtype="BF16", width=2)) == safetensors.Safetensors(tensors=1, dtype="bfloat16")


def test_a_file_without_tensors_is_well_formed() -> None:
    assert read(making.framed(b"{}")) == safetensors.Safetensors(tensors=0, dtype="")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("no length", b"\x01\x02"),
        ("length of 2^63", struct.pack("<Q", 1 << 63) + b"{}"),
        ("length of 2^64-1", b"\xff" * 8 + b"{}"),
        ("length beyond the end", struct.pack("<Q", 100) + b"{}"),
        ("no JSON", making.framed(b"\x80\x04\x95hello.")),
        ("a list", making.framed(b"[]")),
        ("deep JSON", making.framed(b"[" * 100_000)),
        ("deep inside a tensor", making.framed(b'{"a":' + b"[" * 100_000)),
        ("overlap", header(a=a_tensor(0, 8), b=a_tensor(4, 12)) + bytes(12)),
        ("gap", header(a=a_tensor(0, 4), b=a_tensor(8, 12)) + bytes(12)),
        ("backwards", header(a=a_tensor(8, 0, shape=[8])) + bytes(8)),
        ("beyond the end", header(a=a_tensor(0, 100)) + bytes(10)),
        ("bytes after the last tensor", header(a=a_tensor(0, 4)) + bytes(4) + b"PK\x03\x04"),
        ("shape too large for its bytes", header(a=a_tensor(0, 4, shape=[1 << 40, 1 << 40])) + bytes(4)),
        ("negative shape", header(a=a_tensor(0, 4, shape=[-2, -2])) + bytes(4)),
        ("negative offset", header(a=a_tensor(-4, 0)) + bytes(4)),
        ("offset of 2^70", header(a={"dtype": "U8", "shape": [1], "data_offsets": [0, 1 << 70]})),
        ("unknown type", header(a=a_tensor(0, 4, dtype="PICKLE")) + bytes(4)),
        ("fields missing", header(a={"dtype": "U8"})),
        ("a field too many", header(a={**a_tensor(0, 4), "code": "x"}) + bytes(4)),
        ("wrong types", header(a={"dtype": 1, "shape": "x", "data_offsets": {}})),
    ],
)
def test_abuse_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(BadHeader):
        read(data)


def test_a_header_of_100_mb_is_refused_unread() -> None:
    with pytest.raises(BadHeader, match="above"):
        safetensors.header_length(struct.pack("<Q", 100_000_000), 1 << 40)


def test_the_longest_header_takes_bounded_time_and_memory() -> None:
    entries = ",".join(f'"t{i:07}":{{"dtype":"U8","shape":[1],"data_offsets":[{i},{i + 1}]}}' for i in range(100_000))
    text = ("{" + entries + "}").encode()
    assert 6 << 20 < len(text) <= safetensors.HEADER_BYTES_MAX
    started = time.process_time()
    assert safetensors.read_header(text, 8 + len(text) + 100_000).tensors == 100_000
    assert time.process_time() - started < 5
    nested = b"[" * safetensors.HEADER_BYTES_MAX
    tracemalloc.start()
    with pytest.raises(BadHeader):
        safetensors.read_header(nested, 1 << 40)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_be_refused_or_read(data: bytes) -> None:
    with contextlib.suppress(BadHeader):
        read(data)


@given(st.data())
def test_no_flipped_byte_escapes(data: st.DataObject) -> None:
    good = bytearray(making.safetensors())
    good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadHeader):
        read(bytes(good))
