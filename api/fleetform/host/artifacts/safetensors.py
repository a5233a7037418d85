"""The header of a safetensors file, read with bounds on time and memory.

8 bytes: length of the header, little-endian. The header: a JSON object, tensor name → dtype, shape, begin and end of its bytes.
The rest: the tensors' bytes, one after another without gap or overlap, to the very end of the file; so nothing else can hide in
such a file. Source: https://github.com/huggingface/safetensors (format).
"""

import math
from typing import Annotated

import msgspec

from fleetform.domain.base import Record

HEADER_BYTES_MAX = 8 << 20
"""Enough for 60,000 tensors in one file; the format itself would allow 100 MB."""

LENGTH_BYTES = 8

BITS = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
"""The format's words for types in PyTorch's words; others are shown in lower case."""

Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


class BadHeader(Exception):
    """Not a safetensors file that can be trusted; the text says why. It never leaves this package."""


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: Annotated[tuple[Size, ...], msgspec.Meta(max_length=32)]
    data_offsets: tuple[Size, Size]


class Safetensors(Record, frozen=True, kw_only=True):
    """What a header says. dtype: that of most bytes, in PyTorch's words; empty without tensors."""

    tensors: int
    dtype: str


def header_length(first: bytes, file_size: int) -> int:
    """Bytes of the JSON header, from the file's first 8 bytes; BadHeader when no such header can be."""
    if len(first) < LENGTH_BYTES:
        raise BadHeader(f"{file_size} bytes are too few for a header")
    length = int.from_bytes(first[:LENGTH_BYTES], "little")
    if length > file_size - LENGTH_BYTES:
        raise BadHeader(f"its header would be {length} bytes long, and the file has {file_size}")
    if length > HEADER_BYTES_MAX:
        raise BadHeader(f"its header would be {length} bytes long, above {HEADER_BYTES_MAX}")
    return length


def read_header(header: bytes, file_size: int) -> Safetensors:
    """header: the JSON text after the first 8 bytes, as long as they say. BadHeader when it does not describe the file exactly."""
    try:
        raw = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        raw.pop("__metadata__", None)
        tensors = {name: msgspec.json.decode(text, type=Tensor) for name, text in raw.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadHeader(f"its header is not one of safetensors ({error})") from error
    _check_layout(tensors, file_size - LENGTH_BYTES - len(header))
    return Safetensors(tensors=len(tensors), dtype=_main_dtype(tensors))


def _check_layout(tensors: dict[str, Tensor], data_bytes: int) -> None:
    expected = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        begin, end = tensor.data_offsets
        if begin != expected or end < begin:
            raise BadHeader(f"tensor {name[:80]!r} lies at {begin}–{end}, and the one before ends at {expected}")
        bits = BITS.get(tensor.dtype)
        if bits is None:
            raise BadHeader(f"tensor {name[:80]!r} has the unknown type {tensor.dtype[:20]!r}")
        if math.prod(tensor.shape) * bits != (end - begin) * 8:
            raise BadHeader(f"tensor {name[:80]!r} has {end - begin} bytes, which its shape and type do not give")
        expected = end
    if expected != data_bytes:
        raise BadHeader(f"its tensors end at byte {expected} of {data_bytes}")


def _main_dtype(tensors: dict[str, Tensor]) -> str:
    totals: dict[str, int] = {}
    for tensor in tensors.values():
        begin, end = tensor.data_offsets
        totals[tensor.dtype] = totals.get(tensor.dtype, 0) + end - begin
    if not totals:
        return ""
    main = max(sorted(totals), key=lambda dtype: totals[dtype])
    return DTYPES.get(main, main.lower())
