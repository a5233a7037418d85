"""The windows by which versions are compared: what is counted, what is remembered, and the log they are read from."""

import asyncio
import json
import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetform.domain.load import BUCKET_S, Histogram, TrackWindow, Windows
from fleetform.gateway.intake import PIECE_BYTES, Follower, Intake, older
from fleetform.gateway.outliers import Kind, Outliers
from fleetform.gateway.rotation import _move_on
from fleetform.gateway.windows import KEPT_S, WindowStore

START = 1_800_000_000.0
"""The beginning of a bucket."""
times = st.floats(0.0, 3_600_000.0)


def windows(store: WindowStore, since: float = START, until: float = START + KEPT_S, key: str = "p1/m") -> dict[str, TrackWindow]:
    return {window.track: window for window in store.read(key, since, until).tracks}


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 599), times, times, st.booleans(), st.booleans()), max_size=200))
def test_nothing_is_lost_or_counted_twice(ended: list[tuple[str, float, float, float, bool, bool]]) -> None:
    """Split anywhere at the edge of a bucket, the parts of an hour add up to what ended."""
    store = WindowStore()
    for track, after_s, ttft_ms, latency_ms, error, abort in ended:
        store.answered("p1/m", track, START + after_s, error=error, abort=abort, ttft_ms=ttft_ms, latency_ms=latency_ms)
    edge = START + 60 * BUCKET_S
    parts = [windows(store, START, edge), windows(store, edge, START + 600)]
    for track in ("a", "b"):
        mine = [each for each in ended if each[0] == track]
        found = [part[track] for part in parts if track in part]
        assert sum(window.requests for window in found) == len(mine)
        assert sum(window.errors for window in found) == sum(each[4] for each in mine)
        assert sum(window.aborts for window in found) == sum(each[5] for each in mine)
        assert sum(window.ttft.total for window in found) == sum(window.latency.total for window in found) == len(mine)


@given(st.lists(times, min_size=1, max_size=50))
def test_times_come_back_within_a_tenth(found_ms: list[float]) -> None:
    store = WindowStore()
    for time_ms in found_ms:
        store.answered("p1/m", "a", START, ttft_ms=time_ms, latency_ms=None)
    window = windows(store)["a"]
    most = window.ttft.quantile_ms(1.0)
    assert most is not None
    assert max(found_ms) * 0.99 <= most <= max(1.0, max(found_ms) * 1.1 + 0.001)
    assert window.latency == Histogram()


def test_what_began_before_does_not_count_and_the_answer_says_from_where() -> None:
    store = WindowStore()
    for second in range(17):
        store.answered("p1/m", "a", START + second, ttft_ms=None, latency_ms=None)
    found = store.read("p1/m", START + 3, START + 17)
    assert found == Windows(
        since=datetime.fromtimestamp(START + 5, UTC),
        until=datetime.fromtimestamp(START + 17, UTC),
        tracks=(TrackWindow(track="a", requests=12),),
    )


def test_a_time_that_has_not_come_is_empty() -> None:
    found = WindowStore().read("p1/m", START, START - 100)
    assert (found.since, found.until, found.tracks) == (datetime.fromtimestamp(START, UTC), datetime.fromtimestamp(START, UTC), ())


def test_all_endpoints_of_a_time_are_told_together_as_each_is_alone() -> None:
    store = WindowStore()
    for key, second in (("p1/m", 0), ("p1/m", 7), ("p2/n", 12), ("p3/o", 60)):
        store.answered(key, "a", START + second, ttft_ms=1, latency_ms=2)
    found = store.recent(START, START + 30)
    assert found == {key: store.read(key, START, START + 30) for key in ("p1/m", "p2/n")}
    assert found["p1/m"].tracks[0].requests == 2


def test_endpoints_are_apart() -> None:
    store = WindowStore()
    store.answered("p1/m", "a", START, ttft_ms=None, latency_ms=None)
    assert windows(store, key="p1/other") == {}
    assert windows(store, key="p2/m") == {}


def test_an_hour_is_remembered_and_no_more() -> None:
    store = WindowStore()
    store.answered("p1/m", "a", START, ttft_ms=None, latency_ms=None)
    store.forget(START + KEPT_S)
    assert windows(store)["a"].requests == 1
    store.forget(START + KEPT_S + BUCKET_S)
    found = store.read("p1/m", START, START + KEPT_S)
    assert (found.tracks, found.since.timestamp()) == ((), START + BUCKET_S)
    store.answered("p1/m", "a", START, ttft_ms=None, latency_ms=None)
    assert len(store) == 0


def test_with_too_many_buckets_the_oldest_time_is_given_up_for_all() -> None:
    store = WindowStore(buckets_max=100)
    for tick in range(30):
        for number in range(10):
            store.answered(f"p1/m{number}", "a", START + tick * BUCKET_S, ttft_ms=5, latency_ms=9)
        store.forget(START + tick * BUCKET_S)
    assert len(store) == 100
    found = store.read("p1/m3", START, START + 30 * BUCKET_S)
    assert (found.since.timestamp(), found.tracks[0].requests) == (START + 20 * BUCKET_S, 10)


def test_what_replicas_say_of_their_streams_is_added() -> None:
    store = WindowStore()
    store.answered("p1/m", "a", START, ttft_ms=None, latency_ms=None)
    store.streamed("p1/m", "a", START, gaps={3: 2, 160: 1}, failed=1)
    store.streamed("p1/m", "a", START + 5, gaps={3: 1}, failed=0)
    store.streamed("p1/m", "b", START, gaps={}, failed=0)
    assert windows(store) == {"a": TrackWindow(track="a", requests=1, errors=1, gaps=Histogram(counts={3: 3, 160: 1}))}


def a_line(at: float = START + 1, **fields: Any) -> bytes:
    """A line of the log, as Envoy writes it."""
    usual = {
        "time": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "request_id": "r",
        "project": "p1",
        "endpoint": "m",
        "version": "v1",
        "track": "a",
        "replica": "r1",
        "status": 200,
        "flags": "-",
        "latency_ms": 100,
        "replica_ttft_ms": 40,
        "replica_latency_ms": 90,
        "usage": None,
    }
    return json.dumps(usual | fields).encode() + b"\n"


def taken(*lines: bytes) -> dict[str, TrackWindow]:
    store = WindowStore()
    intake = Intake(Path("/nonexistent"), store, lambda: START)
    for line in lines:
        intake.take(line)
    return windows(store)


@pytest.mark.parametrize(
    ("fields", "errors", "aborts", "timed"),
    [
        ({}, 0, 0, 1),
        ({"status": 500}, 1, 0, 0),
        ({"status": 504}, 1, 0, 0),
        ({"status": 503, "flags": "UC"}, 1, 0, 0),
        ({"status": 400}, 0, 0, 0),
        ({"status": 200, "flags": "UPE", "replica_latency_ms": None}, 0, 1, 1),
        ({"status": 200, "flags": "DC", "replica_latency_ms": None}, 0, 1, 1),
        ({"status": 0, "flags": "DC", "replica_ttft_ms": None, "replica_latency_ms": None}, 0, 1, 0),
    ],
)
def test_how_a_request_ended(fields: dict[str, Any], errors: int, aborts: int, timed: int) -> None:
    window = taken(a_line(**fields))["a"]
    assert (window.requests, window.errors, window.aborts, window.ttft.total) == (1, errors, aborts, timed)


class Heard(Outliers):
    """Keeps what it is told: replica, kind, time, how long ago it began."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, Kind, float, float]] = []

    def answered(self, replica_id: str, kind: Kind, time_ms: float, lasted_s: float, now: float) -> None:
        assert now == 7.0
        self.told.append((replica_id, kind, time_ms, lasted_s))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"stream": False}, [("r1", Kind.WHOLE, 90.0, 0.1)]),
        ({"stream": True}, [("r1", Kind.FIRST_BYTE, 40.0, 0.1)]),
        ({"stream": True, "flags": "DC", "replica_latency_ms": None}, [("r1", Kind.FIRST_BYTE, 40.0, 0.1)]),
        ({"stream": False, "flags": "DC"}, []),
        ({"stream": True, "replica_ttft_ms": None}, []),
        ({"stream": None}, []),
        ({}, []),  # by an Envoy of an earlier release, which says nothing of streams and may have some for an hour
        ({"stream": False, "status": 400}, []),
        ({"stream": False, "status": 503}, []),
        ({"stream": False, "replica": None}, []),
        ({"stream": False, "track": ""}, []),
    ],
)
def test_what_is_compared_between_replicas(fields: dict[str, Any], told: list[tuple[str, Kind, float, float]]) -> None:
    heard = Heard()
    intake = Intake(Path("/nonexistent"), WindowStore(), lambda: START, heard, lambda: 7.0)
    intake.take(a_line(**fields))
    assert heard.told == [], "the past, which is read again at the start, says nothing of now"
    intake.until = START
    intake.take(a_line(**fields))
    assert heard.told == told


@pytest.mark.parametrize(
    "line",
    [
        a_line(track=""),
        a_line(track=None),
        a_line(project=None),
        a_line(endpoint=None),
        b"",
        b"not json",
        b"[]",
        b"null",
        b'{"time": 5}',
        b'{"time": "2027-01-15T08:00:00.000Z", "status": "200"}',
        b'{"track": "a", "project": "p1", "endpoint": "m"}',
        b"\xff\xfe",
    ],
)
def test_what_is_not_a_tracks_or_not_a_line_is_left_out(line: bytes) -> None:
    """The activator answers under no track; what Envoy refuses has no replica."""
    assert taken(line, a_line()) == taken(a_line())


def test_a_request_counts_where_it_ended_and_not_where_it_began() -> None:
    store = WindowStore()
    Intake(Path("/nonexistent"), store, lambda: START).take(a_line(at=START + 4, latency_ms=20_000))
    assert windows(store, START, START + 20) == {}
    assert windows(store, START + 20, START + 30)["a"].requests == 1


def drained(follower: Follower) -> list[bytes]:
    """Everything that is there, over the follower's second look at a file that was replaced."""
    found = []
    for _ in range(3):
        while lines := follower.read():
            found.extend(lines)
    return found


def test_a_file_is_followed_over_half_lines_and_rotations(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    follower = Follower(path)
    assert follower.read() == []
    path.write_bytes(b"one\ntw")
    assert follower.read() == [b"one"]
    with path.open("ab") as file:
        file.write(b"o\nthree\n")
        file.flush()
        assert follower.read() == [b"two", b"three"]
        path.rename(tmp_path / "access.log.1")
        assert follower.read() == []
        file.write(b"four\n")
        file.flush()
        assert follower.read() == [b"four"]
        path.write_bytes(b"six\n")
        assert follower.read() == []
        file.write(b"five\n")
    assert drained(follower) == [b"five", b"six"]
    path.write_bytes(b"7\n")
    assert drained(follower) == [b"7"]
    follower.close()


def test_a_follower_that_looks_late_reads_every_file_in_between(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"0\n")
    follower = Follower(path)
    assert follower.read() == [b"0"]
    for number in range(1, 4):
        assert _move_on(path, 0)
        path.write_bytes(b"%d\n" % number)
    found = drained(follower) + drained(follower) + drained(follower)
    assert found == [b"1", b"2", b"3"]
    for number in range(4, 12):
        assert _move_on(path, 0)
        path.write_bytes(b"%d\n" % number)
    assert drained(follower) == [b"11"]
    follower.close()


def test_a_long_file_comes_in_pieces_and_a_line_without_end_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"x" * 99 + b"\n")
    follower = Follower(path)
    path.write_bytes((b"x" * 99 + b"\n") * 10_000)
    assert len(follower.read()) <= PIECE_BYTES // 100 + 1
    assert 10_000 - PIECE_BYTES // 100 - 2 < len(drained(follower)) < 10_000
    with path.open("ab") as file:
        file.write(b"y" * (2 * PIECE_BYTES))
    drained(follower)
    with path.open("ab") as file:
        file.write(b"\nlast\n")
    assert drained(follower)[-1] == b"last"
    follower.close()


@pytest.mark.anyio
async def test_a_new_intake_reads_the_hour_from_the_log_and_its_older_files(tmp_path: Path) -> None:
    """Whatever number of lines stands in whichever file, a restarted worker counts each of the last hour once."""
    path = tmp_path / "access.log"
    counts = random.Random(7).sample(range(5, 50), 4)
    for number, count in enumerate(counts):
        file = path if number == 0 else tmp_path / f"access.log.{number}"
        file.write_bytes(b"".join(a_line(at=START - 60 * number - index * 0.01) for index in range(count)))
    old = tmp_path / "access.log.4"
    old.write_bytes(a_line(at=START - 2 * KEPT_S))
    for file in tmp_path.iterdir():
        os.utime(file, (START, START))
    store = WindowStore()
    now = START + 5
    intake = Intake(path, store, lambda: now)
    task = asyncio.create_task(intake.run())
    while intake.until is None:
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert intake.until == now - 1
    assert windows(store, START - KEPT_S, START + 10)["a"].requests == sum(counts)


def test_files_that_were_not_written_in_the_hour_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    for number in (1, 2, 4):
        file = tmp_path / f"access.log.{number}"
        file.write_bytes(b"")
        os.utime(file, (START - number * 1000, START - number * 1000))
    found: Iterator[Path] = older(path, START - 2500)
    assert [file.name for file in found] == ["access.log.2", "access.log.1"]
