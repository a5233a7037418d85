"""What files may contain, whatever they are called."""

import io
import json
import pickle
import subprocess
import zipfile

import pytest

from fleetform.errors import ArtifactRefused
from fleetform.host.artifacts.content import FileCheck, FileFacts, check_name, is_pickle
from tests.host.artifacts import making


def judge(path: str, data: bytes, *, allow_remote_code: bool = False, chunk: int = 7) -> FileFacts:
    """data fed in small pieces, as the name path."""
    check = FileCheck(path, len(data), allow_remote_code=allow_remote_code)
    for at in range(0, len(data), chunk):
        check.feed(data[at : at + chunk])
    return check.finish()


def reason(path: str, data: bytes) -> str:
    with pytest.raises(ArtifactRefused) as caught:
        judge(path, data)
    return str(caught.value.details["condition_reason"])


def a_zip(name: str) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as archive:
        archive.writestr(name, b"x")
    return into.getvalue()


class Runs:
    """Pickled, it runs a command when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return subprocess.getoutput, ("touch /nowhere/canary",)


PICKLES = {f"protocol {p}": pickle.dumps(Runs(), protocol=p) for p in range(6)}


@pytest.mark.parametrize("name", ["a.bin", "b.PT", "c.Pkl", "d.ckpt", "deep/e.PICKLE", "f.pth", "pytorch_model.BIN"])
def test_pickles_by_name_in_any_case(name: str) -> None:
    with pytest.raises(ArtifactRefused) as caught:
        check_name(name, allow_remote_code=True)
    assert caught.value.details["condition_reason"] == "PickleRefused"


@pytest.mark.parametrize("data", PICKLES.values(), ids=PICKLES)
@pytest.mark.parametrize("name", ["model.safetensors", "model.Safetensors", "model.gguf", "weights.data", "model.h5"])
def test_pickles_by_content_under_any_name(name: str, data: bytes) -> None:
    assert reason(name, data) == "PickleRefused"


@pytest.mark.parametrize("name", ["weights", "notes.txt"])
def test_binary_pickles_under_names_of_text(name: str) -> None:
    assert reason(name, PICKLES["protocol 4"]) == "PickleRefused"


@pytest.mark.parametrize("name", ["model.safetensors", "model.gguf", "weights.data", "notes.txt"])
def test_torch_archives_by_content(name: str) -> None:
    assert reason(name, a_zip("archive/data.pkl")) == "PickleRefused"


@pytest.mark.parametrize(("name", "data"), [("a.zip", b""), ("b.TAR", b""), ("c.tar.gz", b"")])
def test_archives_by_name(name: str, data: bytes) -> None:
    with pytest.raises(ArtifactRefused, match="not unpacked"):
        check_name(name, allow_remote_code=True)


def test_archives_by_content() -> None:
    assert reason("notes.txt", a_zip("readme")) == "ArtifactMissing"


@pytest.mark.parametrize("name", ["modeling.py", "deep/x.PY", "ops.so", "x.pyc"])
def test_code_by_name_needs_permission(name: str) -> None:
    with pytest.raises(ArtifactRefused) as caught:
        check_name(name, allow_remote_code=False)
    assert caught.value.details["condition_reason"] == "CodeRefused"
    check_name(name, allow_remote_code=True)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "preprocessor_config.json", "other.json"])
def test_auto_map_needs_permission(name: str) -> None:
    data = json.dumps({"auto_map": {"AutoModel": "modeling.Model"}}).encode()
    assert reason(name, data) == "CodeRefused"
    assert reason(name, data.replace(b"auto_map", b"auto\\u005fmap")) == "CodeRefused"
    assert judge(name, data, allow_remote_code=True).settings is not None


def test_auto_map_cannot_hide_behind_size() -> None:
    assert reason("config.json", b" " * (5 << 20) + b'{"auto_map":{}}') == "CodeRefused"


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}'])
def test_a_config_must_be_json(data: bytes) -> None:
    assert reason("config.json", data) == "ArtifactMissing"


def test_damaged_weights_are_named() -> None:
    with pytest.raises(ArtifactRefused, match=r"model\.safetensors is no safetensors file") as caught:
        judge("model.safetensors", making.safetensors()[:-1])
    assert caught.value.details["condition_reason"] == "ArtifactMissing"


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_good_files_are_read_in_any_pieces(chunk: int) -> None:
    assert judge("a.safetensors", making.safetensors(), chunk=chunk).safetensors is not None
    assert judge("a.gguf", making.gguf(), chunk=chunk).gguf is not None
    assert judge("a.json", b'{"a": 1}', chunk=chunk).settings == {"a": 1}


def test_a_long_gguf_header_is_read_to_its_end() -> None:
    extra = making.text("tokens") + b"\x09\0\0\0\x08\0\0\0" + (300_000).to_bytes(8, "little") + making.text("abcdef") * 300_000
    data = making.gguf(extra=extra, pairs=1)
    assert len(data) > 4 << 20
    assert judge("a.gguf", data, chunk=1 << 16).gguf is not None


@pytest.mark.parametrize(
    "text",
    [b"[PAD]\n[UNK]\nthe\n", b"cat\ndog\n.\n", b"# A model\n\nIt speaks.\n", "ä".encode(), b"\n\x0e<unk>", b"merges\nt h\nh e\n"],
)
def test_text_is_not_taken_for_a_pickle(text: bytes) -> None:
    assert judge("vocab.txt", text) == FileFacts()


def test_a_safetensors_length_that_looks_like_a_pickle_mark_is_fine() -> None:
    header = b'{"__metadata__":{"pad":"' + b"x" * 613 + b'"}}'
    assert len(header) == 0x0280
    assert judge("a.safetensors", making.framed(header)).safetensors is not None
    assert not is_pickle(making.framed(header))
