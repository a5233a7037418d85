"""Verification: what a manifest says, and every reason to refuse."""

import hashlib
import json
import os
import pickle
import socket
from pathlib import Path

import pytest

from fleetform.domain.model import ModelFormat, Task
from fleetform.errors import ArtifactRefused
from fleetform.host.artifacts import ArtifactCache
from fleetform.host.artifacts.manifest import digest_of
from tests.host.artifacts import making

pytestmark = pytest.mark.anyio


def models(tmp_path: Path) -> Path:
    return tmp_path / "models" / "m"


async def refused(cache: ArtifactCache, folder: Path, **fields: object) -> ArtifactRefused:
    with pytest.raises(ArtifactRefused) as caught:
        await cache.verify(making.a_command(folder, **fields), making.silent)
    return caught.value


async def test_a_manifest_says_what_is_there(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = making.a_folder(models(tmp_path), deep___notes__txt=b"n", __hidden=b"not part of it")
    seen: list[tuple[str, int, int]] = []
    manifest = await cache.verify(making.a_command(folder), lambda *now: seen.append(now))
    assert [f.path for f in manifest.files] == ["config.json", "deep/notes.txt", "model.safetensors", "tokenizer.json"]
    weights = making.safetensors()
    assert (manifest.files[2].size, manifest.files[2].sha256) == (len(weights), hashlib.sha256(weights).hexdigest())
    assert manifest.digest == digest_of(manifest.files)
    assert (manifest.format, manifest.task) == (ModelFormat.SAFETENSORS, Task.GENERATE)
    assert (manifest.architecture, manifest.dtype, manifest.context_length) == ("LlamaForCausalLM", "float32", 256)
    assert not manifest.has_remote_code
    assert seen[-1] == ("verify", manifest.size_bytes, manifest.size_bytes)


async def test_the_digest_is_that_of_the_documented_text(cache: ArtifactCache, tmp_path: Path) -> None:
    manifest = await cache.verify(making.a_command(making.a_folder(models(tmp_path))), making.silent)
    listed = [{"path": f.path, "sha256": f.sha256, "size": f.size} for f in manifest.files]
    assert manifest.digest == hashlib.sha256(json.dumps(listed, separators=(",", ":")).encode()).hexdigest()


async def test_a_single_gguf_file(cache: ArtifactCache, tmp_path: Path) -> None:
    file = making.a_folder(models(tmp_path), m__gguf=making.gguf()) / "m.gguf"
    manifest = await cache.verify(making.a_command(models(tmp_path), artifact=f"file://{file}"), making.silent)
    assert [f.path for f in manifest.files] == ["m.gguf"]
    assert (manifest.format, manifest.architecture, manifest.context_length) == (ModelFormat.GGUF, "llama", 128)


@pytest.mark.parametrize(
    ("architecture", "more", "task"),
    [
        ("BertModel", {}, Task.EMBED),
        ("Qwen3ForCausalLM", {"modules__json": b"[]"}, Task.EMBED),
        ("GPT2LMHeadModel", {}, Task.GENERATE),
        ("LlavaForConditionalGeneration", {}, Task.GENERATE),
        ("RobertaForMaskedLM", {}, Task.EMBED),
    ],
)
async def test_the_task_is_detected(cache: ArtifactCache, tmp_path: Path, architecture: str, more: dict[str, bytes], task: Task) -> None:
    config = json.dumps({"architectures": [architecture]}).encode()
    folder = making.a_folder(models(tmp_path), config__json=config, **more)
    assert (await cache.verify(making.a_command(folder), making.silent)).task is task


@pytest.mark.parametrize("gone", ["config.json", "tokenizer.json", "model.safetensors"])
async def test_what_is_missing_is_named(cache: ArtifactCache, tmp_path: Path, gone: str) -> None:
    folder = making.a_folder(models(tmp_path))
    (folder / gone).unlink()
    error = await refused(cache, folder)
    assert error.details["condition_reason"] == "ArtifactMissing"
    assert gone.partition(".")[2] in error.message or gone in error.message


async def test_a_missing_shard_is_named(cache: ArtifactCache, tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}).encode()
    error = await refused(cache, making.a_folder(models(tmp_path), model__safetensors__index__json=index))
    assert error.details["missing"] == ["model-00002.safetensors"]


async def test_nothing_there(cache: ArtifactCache, tmp_path: Path) -> None:
    assert (await refused(cache, tmp_path / "models" / "none")).details["condition_reason"] == "ArtifactMissing"
    models(tmp_path).mkdir(parents=True)
    assert (await refused(cache, models(tmp_path))).details["condition_reason"] == "ArtifactMissing"


async def test_outside_the_prefixes_nothing_is_read(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = making.a_folder(models(tmp_path))
    error = await refused(cache, folder, prefixes=(f"file://{tmp_path}/other/",))
    assert error.details["condition_reason"] == "AccessDenied"
    error = await refused(cache, folder, artifact=f"file://{tmp_path}/other/../models/m/", prefixes=(f"file://{tmp_path}/other/",))
    assert error.details["condition_reason"] == "AccessDenied"


async def test_links_may_not_leave_the_prefix(cache: ArtifactCache, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    folder = making.a_folder(models(tmp_path))
    (folder / "notes.txt").symlink_to(secret)
    error = await refused(cache, folder)
    assert error.details["condition_reason"] == "AccessDenied"
    assert "notes.txt" in error.message


async def test_a_linked_artifact_may_not_leave_the_prefix(cache: ArtifactCache, tmp_path: Path) -> None:
    outside = making.a_folder(tmp_path / "outside")
    models(tmp_path).parent.mkdir()
    models(tmp_path).symlink_to(outside)
    assert (await refused(cache, models(tmp_path))).details["condition_reason"] == "AccessDenied"


async def test_linked_folders_are_refused(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = making.a_folder(models(tmp_path))
    (folder / "again").symlink_to(folder)
    assert (await refused(cache, folder)).details["condition_reason"] == "AccessDenied"


async def test_links_inside_the_prefix_are_followed(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = making.a_folder(models(tmp_path))
    (folder.parent / "blob").write_bytes(making.safetensors())
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("../blob")
    manifest = await cache.verify(making.a_command(folder), making.silent)
    assert manifest.files[1].size == len(making.safetensors())


async def test_pipes_sockets_and_devices_are_refused(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = making.a_folder(models(tmp_path))
    os.mkfifo(folder / "pipe.txt")
    assert "not a regular file" in (await refused(cache, folder)).message
    (folder / "pipe.txt").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(folder, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        assert "not a regular file" in (await refused(cache, folder)).message
    (folder / "socket").unlink()
    (folder / "zero.txt").symlink_to("/dev/zero")
    assert (await refused(cache, folder)).details["condition_reason"] == "AccessDenied"


async def test_a_pickle_is_refused_and_leaves_nothing(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = making.a_folder(models(tmp_path), model__safetensors=pickle.dumps({"a": 1}))
    assert (await refused(cache, folder)).details["condition_reason"] == "PickleRefused"
    left = [p for name in ("blobs", "models", "partial", "staging") for p in (tmp_path / "cache" / name).iterdir()]
    assert left == []


async def test_code_needs_permission_and_is_remembered(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = making.a_folder(models(tmp_path), modeling__py=b"import os")
    assert (await refused(cache, folder)).details["condition_reason"] == "CodeRefused"
    manifest = await cache.verify(making.a_command(folder, allow_remote_code=True), making.silent)
    assert manifest.has_remote_code


async def test_the_pinned_digest_must_be_found(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = making.a_folder(models(tmp_path))
    error = await refused(cache, folder, expected_digest="0" * 64)
    assert error.details["condition_reason"] == "DigestMismatch"
    found = error.details["found"]
    assert error.details["expected"] == "0" * 64
    assert "0" * 64 in error.message
    assert found in error.message
    assert (await cache.verify(making.a_command(folder, expected_digest=found), making.silent)).digest == found


@pytest.mark.parametrize(
    ("fields", "files", "says"),
    [
        ({"format": "gguf"}, {}, "format gguf"),
        ({"task": "embed"}, {}, "task embed"),
        ({}, {"config__json": b'{"architectures": ["BertForSequenceClassification"]}'}, "BertForSequenceClassification"),
        ({"format": "gguf"}, {"m__gguf": making.gguf(architecture="bert")}, "'bert' cannot be converted"),
        ({"format": "gguf"}, {"a__gguf": making.gguf(), "b__gguf": making.gguf()}, "2 GGUF files"),
        (
            {"format": "gguf"},
            {"m__gguf": making.gguf(extra=making.text("split.count") + b"\x02\0\0\0\x03\0", pairs=1)},
            "split over several",
        ),
    ],
)
async def test_what_is_found_must_be_what_is_declared(
    cache: ArtifactCache, tmp_path: Path, fields: dict[str, object], files: dict[str, bytes], says: str
) -> None:
    error = await refused(cache, making.a_folder(models(tmp_path), **files), **fields)
    assert error.details["condition_reason"] == "RuntimeMismatch"
    assert says in error.message


async def test_other_engines_bring_their_own_files(cache: ArtifactCache, tmp_path: Path) -> None:
    folder = models(tmp_path)
    folder.mkdir(parents=True)
    (folder / "model.plan").write_bytes(b"anything")
    manifest = await cache.verify(making.a_command(folder, engine="triton"), making.silent)
    assert [f.path for f in manifest.files] == ["model.plan"]


async def test_without_room_the_truth_is_found_all_the_same(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path / "cache", layout=making.a_layout(tmp_path / "cache", free_bytes=lambda: 10))
    manifest = await cache.verify(making.a_command(making.a_folder(models(tmp_path))), making.silent)
    assert len(manifest.files) == 3
    assert list((tmp_path / "cache" / "models").iterdir()) == []
    await cache.close()
