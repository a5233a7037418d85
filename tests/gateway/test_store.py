"""The snapshot on disk: a crash at any byte, a full disk, compaction, and readers that follow."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetform.domain.replica import Unix
from fleetform.gateway import store as store_module
from fleetform.gateway.snapshot import (
    Access,
    Applied,
    EndpointRoute,
    NeedsFull,
    RoutingSnapshot,
    SnapshotUpdate,
    Superseded,
    Target,
    TrackRoute,
    TrustedRegion,
)
from fleetform.gateway.store import SnapshotReader, SnapshotStore

ACCESS = Access(home=TrustedRegion(region="dha", jwks='{"keys":[]}'))


def route(name: str, weight: int = 100) -> EndpointRoute:
    targets = (Target(replica_id=f"{name}-1", address=Unix(path=f"/run/{name}.sock")),)
    tracks = (
        TrackRoute(track="v1.aa", version="v1", weight=weight, targets=targets),
        TrackRoute(track="v2.bb", version="v2", weight=100 - weight),
    )
    return EndpointRoute(project="p", endpoint=name, generation=1, created=1, tracks=tracks)


def full(count: int = 3) -> SnapshotUpdate:
    return SnapshotUpdate(epoch=1, version=1, base=0, full=True, upsert=tuple(route(f"e{n}") for n in range(count)), access=ACCESS)


def change(version: int, name: str = "e0") -> SnapshotUpdate:
    return SnapshotUpdate(epoch=1, version=version, base=version - 1, upsert=(route(name, weight=version % 101),))


def stored(folder: Path, updates: int) -> list[RoutingSnapshot]:
    """A store with a full update and that many changes; the snapshot after each."""
    store = SnapshotStore(folder)
    history = [store.snapshot]
    for update in (full(), *(change(version) for version in range(2, updates + 2))):
        assert isinstance(store.publish(update), Applied)
        history.append(store.snapshot)
    store.close()
    return history


def journal(folder: Path) -> Path:
    (path,) = folder.glob("journal-*")
    return path


def test_what_was_published_is_there_after_a_restart(tmp_path: Path) -> None:
    history = stored(tmp_path, 5)
    assert SnapshotStore(tmp_path).snapshot == history[-1]
    assert SnapshotReader(tmp_path).snapshot() == history[-1]


def test_a_crash_at_any_byte_of_the_journal_leaves_a_readable_snapshot(tmp_path: Path) -> None:
    history = stored(tmp_path / "whole", 3)
    content = journal(tmp_path / "whole").read_bytes()
    ends = [0] + [index + 1 for index, byte in enumerate(content) if byte == 10]
    folder = tmp_path / "torn"
    folder.mkdir()
    (folder / "snapshot.json").write_bytes((tmp_path / "whole" / "snapshot.json").read_bytes())
    for cut in range(len(content) + 1):
        (folder / journal(tmp_path / "whole").name).write_bytes(content[:cut])
        whole_lines = sum(1 for end in ends[1:] if end <= cut)
        expected = history[1 + whole_lines]
        assert SnapshotReader(folder).snapshot() == expected
        store = SnapshotStore(folder)
        assert store.snapshot == expected
        assert isinstance(store.publish(change(expected.version + 1)), Applied)
        store.close()
        assert SnapshotStore(folder).snapshot.version == expected.version + 1


@given(position=st.integers(min_value=0, max_value=10_000), byte=st.integers(min_value=0, max_value=255))
def test_a_damaged_journal_ends_where_the_damage_is(tmp_path_factory: pytest.TempPathFactory, position: int, byte: int) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    history = stored(folder, 3)
    content = bytearray(journal(folder).read_bytes())
    content[position % len(content)] = byte
    journal(folder).write_bytes(content)
    assert SnapshotReader(folder).snapshot() in history[1:]


def test_an_unreadable_base_counts_as_none(tmp_path: Path) -> None:
    stored(tmp_path, 2)
    (tmp_path / "snapshot.json").write_bytes(b"{")
    store = SnapshotStore(tmp_path)
    assert store.snapshot == RoutingSnapshot()
    assert store.publish(change(4)) == NeedsFull(epoch=0, version=0)
    assert isinstance(store.publish(full()), Applied)


def test_lower_epochs_and_versions_are_refused_also_after_a_restart(tmp_path: Path) -> None:
    stored(tmp_path, 5)
    store = SnapshotStore(tmp_path)
    assert store.publish(change(3)) == Superseded(epoch=1, version=6)
    assert store.publish(SnapshotUpdate(epoch=0, version=99, base=6)) == Superseded(epoch=1, version=6)
    assert store.publish(change(6)) == Applied(epoch=1, version=6, repeated=True)


def test_a_disk_that_refuses_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = stored(tmp_path, 2)
    store = SnapshotStore(tmp_path)
    real = os.pwrite

    def refuse(descriptor: int, data: bytes, offset: int) -> int:
        real(descriptor, data[:7], offset)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(OSError, match="No space"):
        store.publish(change(4))
    assert store.snapshot == history[-1]
    assert SnapshotReader(tmp_path).snapshot() == history[-1]
    monkeypatch.undo()
    assert isinstance(store.publish(change(4)), Applied)
    assert SnapshotReader(tmp_path).snapshot() == store.snapshot


def test_the_journal_is_folded_into_the_base_and_a_reader_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_COMPACT_AT", 2000)
    store, reader = SnapshotStore(tmp_path), SnapshotReader(tmp_path)
    assert reader.snapshot() == RoutingSnapshot()
    store.publish(full())
    sizes = []
    for version in range(2, 60):
        store.publish(change(version))
        sizes.append(journal(tmp_path).stat().st_size)
        assert reader.snapshot() == store.snapshot
    assert 0 in sizes
    assert max(sizes) < 10_000
    assert SnapshotStore(tmp_path).snapshot == store.snapshot


def test_a_crash_between_the_new_base_and_the_old_journals_end(tmp_path: Path) -> None:
    """The old journal is still there, and belongs to no base any more."""
    history = stored(tmp_path, 3)
    left_over = journal(tmp_path).read_bytes()
    name = journal(tmp_path).name
    store = SnapshotStore(tmp_path)
    store.publish(SnapshotUpdate(epoch=2, version=9, base=0, full=True, upsert=(route("other"),)))
    (tmp_path / name).write_bytes(left_over)
    assert SnapshotReader(tmp_path).snapshot() == store.snapshot != history[-1]
    assert SnapshotStore(tmp_path).snapshot == store.snapshot
    assert not (tmp_path / name).exists()


def test_one_change_among_a_thousand_endpoints_is_cheap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line, not the whole: what is written does not grow with the number of endpoints. The disk's own time is left out."""
    store = SnapshotStore(tmp_path)
    store.publish(full(1000))
    base = (tmp_path / "snapshot.json").stat().st_mtime_ns
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)
    begun = time.process_time()
    for version in range(2, 102):
        store.publish(change(version, f"e{version}"))
    spent_s = (time.process_time() - begun) / 100
    assert (tmp_path / "snapshot.json").stat().st_mtime_ns == base
    assert journal(tmp_path).stat().st_size < 100 * 1000
    assert spent_s < 0.005


def test_files_are_private(tmp_path: Path) -> None:
    stored(tmp_path, 1)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
