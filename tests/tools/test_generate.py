"""What is stale is found, and what is made takes the place of what was there."""

from pathlib import Path

import pytest

import generate


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """A folder as it is, and as it was made anew: one file the same, one changed, one gone, one new."""
    old, new = tmp_path / "old", tmp_path / "new"
    for root, files in (
        (old, {"same": "1\n", "changed": "1\n2\n", "sub/gone": "1\n"}),
        (new, {"same": "1\n", "changed": "1\n3\n", "sub/new": "1\n"}),
    ):
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    return old, new


def test_compare_names_every_difference(trees: tuple[Path, Path]) -> None:
    lines = generate.compare(*trees)
    assert {line.split()[1] for line in lines if line.startswith("---")} == {"changed", "sub/gone", "sub/new"}
    assert "-2" in lines
    assert "+3" in lines


def test_put_leaves_nothing_to_compare(trees: tuple[Path, Path]) -> None:
    old, new = trees
    before = (old / "same").stat().st_mtime_ns
    generate.put(new, old)
    assert generate.compare(old, new) == []
    assert not (old / "sub" / "gone").exists()
    assert (old / "same").stat().st_mtime_ns == before


def test_a_single_file_may_be_a_target(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("made\n")
    assert generate.compare(tmp_path / "old", tmp_path / "new")
    generate.put(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "made\n"
    assert generate.compare(tmp_path / "old", tmp_path / "new") == []
