"""The header of a GGUF file, read with bounds on time and memory.

Magic, version, number of tensors and of key-value pairs, the pairs (typed), the tensors' names, shapes, types and offsets; then
the tensors. Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import math
import struct

from fleetform.domain.base import Record

HEADER_BYTES_MAX = 64 << 20
"""The vocabulary stands in the header; a quarter of a million tokens with scores and merges takes about 10 MiB."""

MAGIC = b"GGUF"
VERSIONS = (2, 3)
TENSORS_MAX = 100_000
PAIRS_MAX = 10_000
DIMENSIONS_MAX = 8
KEPT_STRING_MAX = 1024

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_ALIGNMENT = 32
_TYPES = {
    0: ("float32", 1, 4),
    1: ("float16", 1, 2),
    2: ("q4_0", 32, 18),
    3: ("q4_1", 32, 20),
    6: ("q5_0", 32, 22),
    7: ("q5_1", 32, 24),
    8: ("q8_0", 32, 34),
    10: ("q2_k", 256, 84),
    11: ("q3_k", 256, 110),
    12: ("q4_k", 256, 144),
    13: ("q5_k", 256, 176),
    14: ("q6_k", 256, 210),
    15: ("q8_k", 256, 292),
    30: ("bfloat16", 1, 2),
}
"""Type of a tensor → name, parameters in a block, bytes of a block. Of others only a bit per parameter is assumed."""

CONVERTIBLE = frozenset(
    (
        "bloom",
        "deci",
        "falcon",
        "gemma2",
        "gemma3",
        "gemma4",
        "gpt-oss",
        "gpt2",
        "gpt_oss",
        "lfm2",
        "llama",
        "mamba",
        "minimax-m2",
        "mistral",
        "nemotron",
        "phi3",
        "qwen2",
        "qwen2moe",
        "qwen3",
        "qwen3moe",
        "stablelm",
        "starcoder2",
    )
)
"""`general.architecture` of the generating models that convert.py can bring into safetensors."""


class BadHeader(Exception):
    """Not a GGUF file that can be trusted; the text says why. It never leaves this package."""


class Short(Exception):
    """The header goes on after the bytes at hand. It never leaves this package."""


class Gguf(Record, frozen=True, kw_only=True):
    """What a header says. context_length in tokens, 0 when it is not said. dtype: the type of most parameters."""

    architecture: str
    context_length: int
    dtype: str
    parameters: int
    tensors: int
    parts: int


def read_header(head: bytes, file_size: int) -> Gguf:
    """head: the beginning of the file. Short when the header is longer than head; BadHeader when there is none to trust."""
    if not head.startswith(MAGIC):
        raise BadHeader("it does not begin with GGUF")
    reader = _Reader(head, len(MAGIC))
    version, tensors, pairs = reader.take("I"), reader.take("Q"), reader.take("Q")
    if version not in VERSIONS:
        raise BadHeader(f"its version {version} is not 2 or 3, little-endian")
    if tensors > TENSORS_MAX or pairs > PAIRS_MAX:
        raise BadHeader(f"it claims {tensors} tensors and {pairs} header fields")
    values = {}
    for _ in range(pairs):
        key = reader.string()
        values[key] = reader.value(reader.take("I"))
    types, data_bytes = _read_tensors(reader, tensors)
    begin = -(-reader.at // _ALIGNMENT) * _ALIGNMENT
    if data_bytes and begin + data_bytes > file_size:
        raise BadHeader(f"its tensors end at byte {begin + data_bytes}, and the file has {file_size}: it is cut short")
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise BadHeader("it does not say its architecture")
    main = max(sorted(types), key=lambda code: types[code], default=None)
    return Gguf(
        architecture=architecture,
        context_length=_whole(values.get(f"{architecture}.context_length")),
        dtype="" if main is None else _name(main),
        parameters=sum(types.values()),
        tensors=tensors,
        parts=max(1, _whole(values.get("split.count"))),
    )


def _read_tensors(reader: "_Reader", count: int) -> tuple[dict[int, int], int]:
    """Parameters by tensor type, and where the last tensor ends, counted from the first."""
    types: dict[int, int] = {}
    end = 0
    for _ in range(count):
        name = reader.string()
        dimensions = reader.take("I")
        if dimensions > DIMENSIONS_MAX:
            raise BadHeader(f"tensor {name[:80]!r} has {dimensions} dimensions")
        parameters = math.prod(reader.take("Q") for _ in range(dimensions))
        kind, offset = reader.take("I"), reader.take("Q")
        _, block, block_bytes = _TYPES.get(kind, ("", 8, 1))
        types[kind] = types.get(kind, 0) + parameters
        end = max(end, offset + parameters // block * block_bytes)
    return types, end


def _name(kind: int) -> str:
    return _TYPES[kind][0] if kind in _TYPES else f"ggml-{kind}"


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else 0


class _Reader:
    """Reads little-endian values one after another."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def take(self, code: str) -> int:
        return int(self._scalar(code))

    def string(self) -> str:
        """Cut after KEPT_STRING_MAX bytes: longer values are skipped, never held."""
        length = self.take("Q")
        start = self._skip(length)
        return self._data[start : start + min(length, KEPT_STRING_MAX)].decode("utf-8", "replace")

    def value(self, kind: int, depth: int = 0) -> str | int | float | None:
        """A scalar or string; None for an array, which is skipped."""
        if kind in _SCALARS:
            return self._scalar(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY or depth > 1:
            raise BadHeader(f"it has a field of the unknown type {kind}")
        element, count = self.take("I"), self.take("Q")
        if count > HEADER_BYTES_MAX:
            raise BadHeader(f"it has a list of {count} elements")
        if element in _SCALARS:
            self._skip(struct.calcsize("<" + _SCALARS[element]) * count)
            return None
        for _ in range(count):
            if element == _STRING:
                self._skip(self.take("Q"))
            else:
                self.value(element, depth + 1)
        return None

    def _scalar(self, code: str) -> int | float:
        size = struct.calcsize("<" + code)
        start = self._skip(size)
        found: tuple[int | float] = struct.unpack_from("<" + code, self._data, start)
        return found[0]

    def _skip(self, size: int) -> int:
        start = self.at
        if size > HEADER_BYTES_MAX:
            raise BadHeader(f"it has a field of {size} bytes")
        if start + size > len(self._data):
            raise Short
        self.at += size
        return start
