"""The parts of the activator that need no Envoy: the bounded line, the count of tries, what is expected of a start."""

import asyncio
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetform import settings
from fleetform.gateway.activator.answers import Answer, remaining_s
from fleetform.gateway.activator.hold import RELEASED_TOGETHER, Hold, Place
from fleetform.gateway.activator.line import Line
from fleetform.gateway.activator.tries import FAILURES_MAX, Tries
from fleetform.gateway.routing import RETRIES
from fleetform.gateway.snapshot import RoutingSnapshot
from fleetform.gateway.store import SnapshotReader
from tests.gateway.stack import a_route, a_track


def fill(line: Line, project: str, size: int = 0) -> int:
    """How many more of project find a place."""
    count = 0
    while line.enter(project, size):
        count += 1
    return count


def test_alone_a_project_gets_half_and_each_further_one_finds_room() -> None:
    line = Line(1000, 1 << 30)
    taken = [fill(line, project) for project in ("a", "b", "c", "d")]
    assert taken == [500, 250, 125, 63]


def test_bytes_are_shared_like_places() -> None:
    line = Line(1000, 1000)
    assert fill(line, "a", size=100) == 5
    assert fill(line, "b", size=100) == 3
    assert line.enter("c", 0)


def test_what_is_larger_than_the_line_finds_no_place_and_leaves_none_behind() -> None:
    line = Line(10, 1000)
    assert not line.enter("a", 1001)
    assert line.enter("a", 1000)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 300)), max_size=200))
def test_the_bounds_hold_and_whoever_leaves_makes_room(wishes: list[tuple[str, int]]) -> None:
    line = Line(20, 1000)
    inside = [wish for wish in wishes if line.enter(*wish)]
    assert len(inside) <= 20
    assert sum(size for _, size in inside) <= 1000
    for wish in inside:
        line.leave(*wish)
    assert fill(line, "z") == 10


def test_a_request_that_was_never_at_a_replica_has_no_failure() -> None:
    tries = Tries()
    for attempt in range(1, 12):
        assert tries.arrived("r", attempt).failures == 0


def test_failures_at_replicas_are_what_lies_between_the_arrivals() -> None:
    tries = Tries()
    assert tries.arrived("r", 3).failures == 2
    assert tries.arrived("r", 4).failures == 2
    assert not tries.arrived("r", 6).is_over
    found = tries.arrived("r", 8)
    assert (found.failures, found.is_over) == (FAILURES_MAX, True)


def test_what_an_earlier_activator_had_is_no_failure_of_replicas() -> None:
    """It was here nine times before, while none listened."""
    found = Tries().arrived("r", 10)
    assert (found.failures, found.is_over) == (2, False)


def test_it_is_bounced_twice_at_once_and_then_with_growing_pauses_until_envoy_has_no_retry_left() -> None:
    tries = Tries()
    pauses = [tries.arrived("r", attempt).pause_s for attempt in range(1, 9)]
    assert pauses == [0, 0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6]
    assert tries.arrived("r", RETRIES + 1).is_over


def test_what_replicas_have_failed_waits_longer_each_time() -> None:
    tries = Tries()
    assert [tries.arrived("r", attempt).pause_s for attempt in (1, 4, 7)] == [0, 0.5, 1]
    assert tries.arrived("r", 20).pause_s == 2
    assert Tries().arrived("other", 3).pause_s == 0.25


def test_requests_are_told_apart_and_the_oldest_are_forgotten() -> None:
    tries = Tries()
    tries.arrived("first", 1)
    for number in range(10_000):
        assert tries.arrived(f"r{number}", 1).arrivals == 1
    assert tries.arrived("first", 2).arrivals == 1


def test_what_is_left_of_a_start() -> None:
    """By the median first, then by the slow ones, then nothing is known; before it has begun it counts from the first that waited."""
    route = a_route("m", start_s=40, start_slow_s=70, start_began=1000)
    assert [remaining_s(route, now, woken_at=0) for now in (1000.0, 1010.5, 1039.9, 1040.0, 1069.0, 1070.0, 2000.0)] == [
        40,
        30,
        1,
        30,
        1,
        None,
        None,
    ]
    assert remaining_s(a_route("m", start_s=40, start_slow_s=70), now=1010, woken_at=1000) == 30
    assert remaining_s(a_route("m"), now=1010, woken_at=1000) is None


def test_a_crowd_goes_in_parts_whatever_comes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request that comes has its endpoint looked at, and must not hurry the others: a replica would have to refuse them."""
    monkeypatch.setattr("fleetform.gateway.activator.hold._BETWEEN_PARTS_S", 0.3)
    path = tmp_path / "engine.sock"
    route = a_route("m", a_track("v1", 100, path))

    class Reader(SnapshotReader):
        def snapshot(self) -> RoutingSnapshot:
            return RoutingSnapshot(routes={route.key: route})

    async def release() -> list[int]:
        """How many had been let go when each further request came."""
        hold = Hold(settings.load({"FLEETFORM_HOME": str(tmp_path)}), Reader(tmp_path))
        places: list[Place] = []

        def one_comes() -> None:
            place = hold.enter(route, 0, Tries().arrived("r", 1), time.time())
            assert isinstance(place, Place)
            places.append(place)

        def gone() -> int:
            return sum(place.answer.done() for place in places)

        for _ in range(2 * RELEASED_TOGETHER):
            one_comes()
        looking = asyncio.create_task(hold.run())
        found = []
        for _ in range(5):
            one_comes()
            for _ in range(10):
                await asyncio.sleep(0)
            found.append(gone())
        await asyncio.wait_for(asyncio.gather(*(place.answer for place in places)), 5)
        for place in places:
            hold.leave(place)
        looking.cancel()
        return found

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(100)
        assert asyncio.run(release()) == [RELEASED_TOGETHER] * 5


def test_what_cannot_be_read_for_a_while_ends_no_wait_for_good(tmp_path: Path) -> None:
    """A snapshot that is not understood is looked at again; the deadline and the release both still come."""

    class Reader(SnapshotReader):
        broken = True

        def snapshot(self) -> RoutingSnapshot:
            if self.broken:
                raise ValueError("unreadable")
            return RoutingSnapshot(routes={})

    async def wait() -> Answer:
        reader = Reader(tmp_path)
        hold = Hold(settings.load({"FLEETFORM_HOME": str(tmp_path)}), reader)
        looking = asyncio.create_task(hold.run())
        place = hold.enter(a_route("m"), 0, Tries().arrived("r", 1), time.time())
        assert isinstance(place, Place)
        await asyncio.sleep(0.1)
        assert not place.answer.done()
        reader.broken = False
        answer = await asyncio.wait_for(place.answer, 5)
        hold.leave(place)
        looking.cancel()
        return answer

    assert asyncio.run(wait()).status == 404
