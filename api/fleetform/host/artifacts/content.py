"""What a file of an artifact may contain, and what a set of files is.

A file is judged while it is hashed, by the very bytes that are hashed: names say little, and a second reading could read something
else. What an engine would run as code is refused: pickles (under any name), Python and native modules, `auto_map`.
"""

import io
import pickletools
from pathlib import PurePosixPath

import msgspec

from fleetform.domain.base import Record
from fleetform.domain.conditions import Reason
from fleetform.errors import ArtifactRefused
from fleetform.host.artifacts import gguf, safetensors
from fleetform.host.artifacts.gguf import Gguf
from fleetform.host.artifacts.refusal import refusal
from fleetform.host.artifacts.safetensors import Safetensors

PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill"})
CODE = frozenset({".py", ".pyc", ".pyo", ".pyd", ".so", ".dll", ".dylib"})
ARCHIVES = frozenset({".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"})
TEXTS = frozenset({".json", ".jsonl", ".txt", ".md", ".jinja", ".model", ".tiktoken", ".yaml", ".yml", ".csv", ""})
JSON_BYTES_MAX = 4 << 20
SNIFF_BYTES = 64 << 10
_OPCODES = frozenset(op.code for op in pickletools.opcodes)
_IMPORTING = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD", "EXT1", "EXT2", "EXT4"})


class FileFacts(Record, frozen=True, kw_only=True):
    """What one file turned out to be. settings: a small JSON object; None for anything else."""

    safetensors: Safetensors | None = None
    gguf: Gguf | None = None
    settings: dict[str, object] | None = None


def check_name(path: str, *, allow_remote_code: bool) -> None:
    """Refuses by name, in any case, what is never loaded; asked before a byte is read."""
    suffix = PurePosixPath(path.lower()).suffix
    if suffix in PICKLES:
        raise refusal(
            Reason.PICKLE_REFUSED, f"{path}: files of this kind are pickles, which run code when loaded; use safetensors", path=path
        )
    if suffix in ARCHIVES:
        raise refusal(Reason.ARTIFACT_MISSING, f"{path}: archives are not unpacked; lay the files out as they are", path=path)
    if suffix in CODE and not allow_remote_code:
        raise refusal(Reason.CODE_REFUSED, f"{path} is code, and allow_remote_code is not set", path=path)


class FileCheck:
    """Judges one file from its beginning, as its bytes pass by. Call feed for each chunk, in order, then finish."""

    def __init__(self, path: str, size: int, *, allow_remote_code: bool) -> None:
        self._path = path
        self._size = size
        self._suffix = PurePosixPath(path.lower()).suffix
        self._allow_remote_code = allow_remote_code
        self._head = bytearray()
        self._wanted = min(size, self._first_wish())
        self._facts: FileFacts | None = None

    def feed(self, chunk: bytes) -> None:
        """ArtifactRefused as soon as the bytes so far forbid the file; memory is bounded by the longest header."""
        while self._facts is None and chunk:
            missing = self._wanted - len(self._head)
            self._head += chunk[:missing]
            chunk = chunk[missing:]
            if len(self._head) == self._wanted:
                self._judge()

    def finish(self) -> FileFacts:
        """What the file is; it has been fed completely."""
        if self._facts is None:
            self._judge()
        assert self._facts is not None
        self._head.clear()
        return self._facts

    def _first_wish(self) -> int:
        if self._suffix == ".gguf":
            return 1 << 20
        if self._suffix == ".json" and self._size <= JSON_BYTES_MAX:
            return self._size
        return SNIFF_BYTES

    def _judge(self) -> None:
        """Sets the facts, or wishes for more of the head."""
        head = bytes(self._head)
        if self._suffix == ".safetensors":
            self._judge_safetensors(head)
        elif self._suffix == ".gguf":
            self._judge_gguf(head)
        else:
            self._sniff(head)
            self._facts = FileFacts(settings=self._settings(head))

    def _judge_safetensors(self, head: bytes) -> None:
        try:
            end = safetensors.LENGTH_BYTES + safetensors.header_length(head[: safetensors.LENGTH_BYTES], self._size)
            if len(head) < end:
                self._wanted = end
                return
            self._facts = FileFacts(safetensors=safetensors.read_header(head[safetensors.LENGTH_BYTES : end], self._size))
        except safetensors.BadHeader as error:
            raise self._unreadable("safetensors", head, error) from error

    def _judge_gguf(self, head: bytes) -> None:
        try:
            self._facts = FileFacts(gguf=gguf.read_header(head, self._size))
        except gguf.Short as error:
            self._wanted = min(self._size, 2 * len(head), gguf.HEADER_BYTES_MAX)
            if self._wanted <= len(head):
                raise self._unreadable("GGUF", head, error) from error
        except gguf.BadHeader as error:
            raise self._unreadable("GGUF", head, error) from error

    def _unreadable(self, kind: str, head: bytes, error: Exception) -> ArtifactRefused:
        if is_pickle(head) or _is_zip(head):
            message = f"{self._path} is named {kind}, and contains a pickle or an archive"
            return refusal(Reason.PICKLE_REFUSED, message, path=self._path)
        why = str(error) or "its header does not end"
        return refusal(Reason.ARTIFACT_MISSING, f"{self._path} is no {kind} file that can be loaded: {why}", path=self._path)

    def _sniff(self, head: bytes) -> None:
        if is_pickle(head, protocol_0=self._suffix not in TEXTS) or (_is_zip(head) and b".pkl" in head):
            raise refusal(
                Reason.PICKLE_REFUSED, f"{self._path} contains a pickle, which runs code when loaded; use safetensors", path=self._path
            )
        if _is_zip(head):
            raise refusal(Reason.ARTIFACT_MISSING, f"{self._path} is an archive; lay the files out as they are", path=self._path)

    def _settings(self, head: bytes) -> dict[str, object] | None:
        """The file's JSON object. What engines take settings from (`…config.json`) must be one, and short enough to be read here."""
        if self._suffix != ".json":
            return None
        decisive = self._path.lower().endswith("config.json")
        if self._size > JSON_BYTES_MAX:
            if decisive:
                raise refusal(Reason.CODE_REFUSED, f"{self._path} has {self._size} bytes, too many to be looked through", path=self._path)
            return None
        try:
            decoded = msgspec.json.decode(head)
        except (msgspec.DecodeError, RecursionError) as error:
            if decisive:
                raise refusal(Reason.ARTIFACT_MISSING, f"{self._path} is not JSON: {error}", path=self._path) from error
            return None
        if not isinstance(decoded, dict):
            return None
        if "auto_map" in decoded and not self._allow_remote_code:
            raise refusal(
                Reason.CODE_REFUSED, f"{self._path} has auto_map, which loads code, and allow_remote_code is not set", path=self._path
            )
        return decoded


def is_pickle(head: bytes, *, protocol_0: bool = True) -> bool:
    """True when head begins a pickle: protocol 2 and later by its mark, the textual protocols by being one that imports or calls."""
    if len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return chr(head[2]) in _OPCODES
    return protocol_0 and _is_textual_pickle(head[:SNIFF_BYTES])


def _is_textual_pickle(head: bytes) -> bool:
    imports = False
    try:
        for op, _, _ in pickletools.genops(io.BytesIO(head)):
            imports = imports or op.name in _IMPORTING
            if op.name == "STOP":
                return imports
    except Exception:  # genops raises whatever its argument readers raise on bytes that are no pickle
        return False
    return False


def _is_zip(head: bytes) -> bool:
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"))
