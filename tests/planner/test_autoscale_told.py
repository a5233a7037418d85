"""What is said and written down of a replica count: its bound, its edges, what it was decided by."""

from datetime import timedelta

import msgspec
import pytest

from fleetform.domain.scaling import LoadSample, ScalingReason
from fleetform.planner.count import told
from fleetform.planner.demand import edges
from tests.planner.autoscaled import Endpoint, resting

R = ScalingReason


def test_bounds_are_said_with_what_the_load_asks_for() -> None:
    high = Endpoint(count=2, most=2).under(40.0)
    assert (high.replicas, high.reason) == (2, R.MAXIMUM)
    assert high.message.startswith("max_replicas is 2; 40.0 requests")
    low = Endpoint(count=2, least=2).under(0.0)
    assert (low.replicas, low.reason) == (2, R.MINIMUM)
    by_schedule = Endpoint(count=2, least=2, schedules=("day",)).under(0.0)
    assert by_schedule.reason is R.SCHEDULE
    assert by_schedule.message.startswith("min_replicas is 2 by schedule day; ")


def test_the_edges_are_where_the_count_changes() -> None:
    more, fewer = edges(Endpoint().policy, 3)
    assert more is not None
    assert fewer is not None
    for load, count in ((more - 0.01, 3), (more + 0.01, 4)):
        assert Endpoint(count=3).under(load).replicas == count
    for load, count in ((fewer + 0.01, 3), (fewer - 0.01, 2)):
        endpoint = Endpoint(count=3)
        endpoint.keep(400, 16.0)
        assert endpoint.keep(310, load).replicas == count


@pytest.mark.parametrize(
    ("count", "expected"),
    [(20, (None, True)), (1, (True, None))],
)
def test_at_a_bound_no_load_changes_it_that_way(count: int, expected: tuple[bool | None, bool | None]) -> None:
    assert tuple(None if edge is None else True for edge in edges(Endpoint().policy, count)) == expected


def test_what_rests_is_woken_by_any_request_and_the_last_goes_without_any() -> None:
    assert edges(resting().policy, 0) == (0.0, None)
    assert edges(resting().policy, 1)[1] == 0.0


def test_a_steady_load_is_written_down_once() -> None:
    endpoint = Endpoint(count=3)
    written = 0
    for step in range(500):
        before = endpoint.recorded
        endpoint.under(15.0 + step % 3)
        written += endpoint.recorded is not before
    assert written == 1


def test_a_load_at_the_maximum_is_written_down_when_it_gets_there_and_when_it_leaves() -> None:
    endpoint = Endpoint(count=3, most=3)
    reasons = []
    for load in [16.0] * 5 + [30.0, 16.0] * 20 + [1.0] * 5:
        before = endpoint.recorded
        endpoint.under(load)
        if endpoint.recorded is not before and endpoint.recorded is not None:
            reasons.append(endpoint.recorded.reason)
    assert reasons == [R.CONCURRENCY, R.MAXIMUM, R.HELD]


def test_missing_data_is_written_down_when_it_begins_and_when_it_ends() -> None:
    endpoint = Endpoint(count=3)
    endpoint.keep(20, 16.0)
    reasons = []
    for load in [None] * 5 + [16.0] * 5:
        before = endpoint.recorded
        endpoint.hear(None if load is None else endpoint.load(load))
        if endpoint.recorded is not before and endpoint.recorded is not None:
            reasons.append(endpoint.recorded.reason)
    assert reasons == [R.NO_DATA, R.CONCURRENCY]


def events(endpoint: Endpoint, load: LoadSample | None, held: int = 0) -> list[tuple[str, str]]:
    """What is told of the decision under that load, after one by which a single replica ran without load."""
    before = endpoint.under(0.0)
    return [(event.reason, event.message) for event in told(before, endpoint.hear(load, held))]


def test_what_is_told_ends_with_what_it_was_decided_by() -> None:
    endpoint = Endpoint()
    assert events(endpoint, endpoint.load(7.5, 9.0, queued=2)) == [
        (
            "ScaledUp",
            "from 1 to 2 replicas: 9.0 requests under way or held on average over 6 s need room for 15.0: 2 replicas at"
            " target_concurrency 8 (7.5 requests over 60 s, 2 held)",
        )
    ]
    endpoint = Endpoint()
    load = endpoint.load(7.5, token_capacity=1000, tokens_in_use=900.0, tokens_waiting=100.0)
    ((reason, message),) = events(endpoint, load)
    assert (reason, message.partition("8 ")[2]) == ("ScaledUp", "(7.5 over 6 s, 0 held, 1,000 tokens in use or waiting, one holds 1,000)")
    endpoint = Endpoint()
    ((_, message),) = events(endpoint, msgspec.structs.replace(load, at=endpoint.now + timedelta(seconds=4), tokens_in_use=2000.0))
    assert message.endswith("85% of what one holds (7.5 requests over 60 s, 7.5 over 6 s, 0 held, one holds 1,000)")
    endpoint = Endpoint(most=1)
    ((reason, message),) = events(endpoint, endpoint.load(30.0))
    assert reason == "AtMaximum"
    assert message.endswith("6 replicas at target_concurrency 8 (30.0 over 6 s, 0 held)")


def test_what_is_told_of_a_count_at_zero_does_not_say_twice_how_much_is_held() -> None:
    endpoint = resting()
    before = endpoint.hear(endpoint.load(idle_s=400.0))
    (event,) = told(before, endpoint.hear(endpoint.load(0.0, 0.3), held=1))
    assert event.message == "from 0 to 1 replica: 1 request is held and nothing runs (0.0 requests over 60 s, 0.3 over 6 s)"


def test_an_old_load_is_told_with_its_time_and_none_of_what_is_not_known() -> None:
    endpoint = Endpoint()
    old = endpoint.load(3.0, 4.0)
    before = endpoint.under(0.0)
    (event,) = told(before, endpoint.hear(old, after_s=20))
    assert event.message == (
        "1 replica: no gateway has told for 10 s how much is under way, so the count stays"
        " (at 12:00:02: 3.0 requests over 60 s, 4.0 over 6 s, 0 held)"
    )
    (event,) = told(before, Endpoint().hear(None))
    assert event.message == "1 replica: no gateway has told for 10 s how much is under way, so the count stays"
