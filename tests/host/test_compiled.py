"""What engines compile is kept apart by what it was compiled for, and bounded; what a start has just taken is never removed."""

import os
import time
from pathlib import Path

import pytest

from fleetform.host.engines import compiled


def a_folder(cache: Path, digest: str, size: int = 0, unused_s: float = 0, version: str = "0.32.0", kind: str = "cpu") -> Path:
    path = compiled.folder(cache, version, kind, digest * 64)
    compiled.take(path)
    (path / "kernel").write_bytes(bytes(size))
    os.utime(path, (time.time() - unused_s,) * 2)
    return path


def test_version_device_and_model_are_apart_and_what_is_known_of_classes_is_shared(tmp_path: Path) -> None:
    folders = {
        a_folder(tmp_path, "a"),
        a_folder(tmp_path, "b"),
        a_folder(tmp_path, "a", kind="a10"),
        a_folder(tmp_path, "a", version="0.33.0"),
    }
    assert len(folders) == 4
    (a_folder(tmp_path, "a") / "vllm" / "modelinfos" / "llama.json").write_text("{}")
    assert (a_folder(tmp_path, "c", kind="a10") / "vllm" / "modelinfos" / "llama.json").exists()
    assert not (a_folder(tmp_path, "a", version="0.33.0") / "vllm" / "modelinfos" / "llama.json").exists()


@pytest.mark.parametrize("odd", ["../../etc", "/etc", "..", "", "a/b"])
def test_no_word_leads_out_of_the_cache(tmp_path: Path, odd: str) -> None:
    path = compiled.folder(tmp_path, odd, odd, "a" * 64)
    assert path.parents[2] == tmp_path / "compiled"
    assert ".." not in path.parts


def test_the_longest_unused_goes_first_beyond_the_limit(tmp_path: Path) -> None:
    day = 86400
    old, older, recent = a_folder(tmp_path, "a", 100, day), a_folder(tmp_path, "b", 100, 2 * day), a_folder(tmp_path, "c", 100, 60)
    now = compiled.folder(tmp_path, "0.32.0", "cpu", "d" * 64)
    compiled.take(now, limit_bytes=250)
    assert not older.exists()
    assert old.exists()
    compiled.take(now, limit_bytes=10)
    assert not old.exists()
    assert recent.exists(), "it may belong to a start that is under way"
    assert now.exists()


def test_taking_it_again_keeps_what_is_there(tmp_path: Path) -> None:
    path = a_folder(tmp_path, "a", 100)
    compiled.take(path)
    assert (path / "kernel").stat().st_size == 100
