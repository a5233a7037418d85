"""Files of this machine that change under the reader."""

import os
from pathlib import Path

import pytest

from fleetform.errors import ArtifactRefused, SourceAway
from fleetform.host.artifacts import sources
from fleetform.host.artifacts.location import parse
from fleetform.host.artifacts.sources import FileSource, Stop, Stopped


def a_source(folder: Path) -> FileSource:
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_bytes(bytes(2 * sources.CHUNK_BYTES))
    return FileSource(parse(f"file://{folder}/"), (f"file://{folder}/",))


def test_read_from_an_offset(tmp_path: Path) -> None:
    source = a_source(tmp_path / "m")
    (file,) = source.files(Stop())
    assert sum(map(len, source.read(file, sources.CHUNK_BYTES + 5, Stop()))) == sources.CHUNK_BYTES - 5


def test_a_file_written_while_it_is_read(tmp_path: Path) -> None:
    source = a_source(tmp_path / "m")
    (file,) = source.files(Stop())
    reading = source.read(file, 0, Stop())
    next(reading)
    before = (tmp_path / "m" / "a.txt").stat()
    (tmp_path / "m" / "a.txt").write_bytes(b"x" * file.size)
    os.utime(tmp_path / "m" / "a.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(SourceAway, match="changes while it is read"):
        list(reading)


@pytest.mark.parametrize("instead", ["file", "pipe", "link out"])
def test_a_path_that_means_something_else_by_the_time_it_is_opened(tmp_path: Path, instead: str) -> None:
    source = a_source(tmp_path / "m")
    (file,) = source.files(Stop())
    path = tmp_path / "m" / "a.txt"
    path.unlink()
    if instead == "file":
        path.write_bytes(bytes(file.size))
    elif instead == "pipe":
        os.mkfifo(path)
    else:
        (tmp_path / "secret").write_bytes(bytes(file.size))
        path.symlink_to(tmp_path / "secret")
    with pytest.raises(ArtifactRefused if instead == "link out" else SourceAway):
        list(source.read(file, 0, Stop()))


def test_stop_ends_a_reading_and_its_parts(tmp_path: Path) -> None:
    source = a_source(tmp_path / "m")
    (file,) = source.files(Stop())
    stop = Stop()
    part = stop.part()
    reading = source.read(file, 0, part)
    next(reading)
    stop.set()
    with pytest.raises(Stopped):
        next(reading)
    assert stop.part().is_set()


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "FILES_MAX", 3)
    source = a_source(tmp_path / "m")
    for index in range(3):
        (tmp_path / "m" / f"{index}.txt").touch()
    with pytest.raises(ArtifactRefused, match="more than 3 files"):
        source.files(Stop())


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../secret", ""])
def test_find_looks_only_below_the_artifact(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").touch()
    with pytest.raises(ArtifactRefused) as caught:
        a_source(tmp_path / "m").find(path, Stop())
    assert caught.value.details["condition_reason"] == "AccessDenied"
