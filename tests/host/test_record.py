"""Durable files, and the phases of a start."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from fleetform.host import records
from fleetform.host.record import in_phase, without_running
from tests.builders import NOON


def test_a_record_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    records.write_json(path, {"a": 1})
    records.write_json(path, {"a": 2})
    assert records.read_json(path) == {"a": 2}
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_that_was_removed_is_made_anew_where_its_own_is_there(tmp_path: Path) -> None:
    path = tmp_path / "commands" / "record.json"
    records.remove(path)
    records.write_json(path, {"a": 1})
    assert records.read_json(path) == {"a": 1}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    with pytest.raises(FileNotFoundError):
        records.write_json(tmp_path / "no" / "home" / "record.json", {"a": 1})


def test_a_write_that_fails_leaves_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    records.write_json(path, {"a": 1})

    def full(descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        records.write_json(path, {"a": 2})
    assert records.read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "{", "[1]", "\0", pytest.param("[" * 100_000, id="deep")])
def test_a_torn_record_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text)
    assert records.read_json(tmp_path / "record.json") is None


def test_a_lock_is_held_by_one_process_and_freed_by_its_death(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    program = f"""
import sys
from pathlib import Path
from fleetform.host import records
assert records.try_lock(Path({str(path)!r})) is not None
print("held", flush=True)
sys.stdin.read()
"""
    holder = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with records.locked(path) as ours:
            assert not ours
    finally:
        holder.kill()
        holder.communicate()
    with records.locked(path) as ours:
        assert ours


def test_a_phase_ends_when_the_next_begins() -> None:
    later = NOON + timedelta(seconds=5)
    phases = in_phase(in_phase((), "fetch", NOON), "launch", later)
    assert [(p.name, p.started_at, p.ended_at) for p in phases] == [("fetch", NOON, later), ("launch", later, None)]
    assert without_running(phases, later)[-1].ended_at == later


def test_progress_keeps_the_beginning_and_an_attempt_begins_anew() -> None:
    later = NOON + timedelta(seconds=5)
    phases = in_phase((), "fetch", NOON, 1, 10)
    phases = in_phase(phases, "verify", later, 1, 10)
    phases = in_phase(phases, "fetch", later, 2, 10)
    assert [(p.name, p.started_at, p.ended_at, p.done) for p in phases] == [("verify", later, later, 1), ("fetch", NOON, None, 2)]
    (again,) = in_phase(in_phase((), "launch", NOON), "launch", later)
    assert again.started_at == later
