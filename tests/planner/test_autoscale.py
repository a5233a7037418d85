"""The rule of the replica count: what each load asks for, how fast it is followed, and when it is not."""

from datetime import datetime, timedelta

import msgspec
import pytest

from fleetform.domain.scaling import ScalingReason
from fleetform.planner.autoscale import Unheard
from tests.builders import NOON
from tests.planner.autoscaled import Endpoint

R = ScalingReason


@pytest.mark.parametrize(
    ("stable", "burst", "count", "reason"),
    [
        (0.0, 0.0, 1, R.CONCURRENCY),
        (4.0, 0.0, 1, R.CONCURRENCY),  # 4 + 2·√4 = 8: exactly one
        (4.5, 0.0, 1, R.CONCURRENCY),  # 8.7, within a tenth of 8
        (4.7, 0.0, 2, R.CONCURRENCY),  # 9.0
        (2.0, 4.7, 2, R.BURST),
        (16.0, 3.0, 3, R.CONCURRENCY),  # 24
        (20.0, 36.0, 5, R.STEP_LIMIT),  # 48 asks for 6
    ],
)
def test_a_load_needs_room_for_itself_and_for_chance(stable: float, burst: float, count: int, reason: ScalingReason) -> None:
    decision = Endpoint().under(stable, burst)
    assert (decision.replicas, decision.reason) == (count, reason)


def test_the_sentence_has_its_figures() -> None:
    assert Endpoint(count=2).under(16.0).message == (
        "16.0 requests under way or held on average over 60 s need room for 24.0: 3 replicas at target_concurrency 8"
    )


@pytest.mark.parametrize(
    ("in_use", "waiting", "capacity", "count"),
    [(8_000.0, 0.0, 10_000, 1), (8_000.0, 600.0, 10_000, 2), (30_000.0, None, 10_000, 4), (None, 5.0, 10_000, 1), (9e9, 0.0, None, 1)],
)
def test_tokens_ask_for_more_where_long_requests_fill_the_memory(
    in_use: float | None, waiting: float | None, capacity: int | None, count: int
) -> None:
    decision = Endpoint().under(1.0, tokens_in_use=in_use, tokens_waiting=waiting, token_capacity=capacity)
    assert decision.replicas == count
    assert decision.reason is (R.TOKENS if count > 1 else R.CONCURRENCY)


def test_it_goes_up_by_steps_of_fifteen_seconds() -> None:
    endpoint = Endpoint()
    assert endpoint.under(120.0).replicas == 5, "from 1 by 4"
    assert endpoint.keep(14, 120.0).replicas == 5
    assert endpoint.keep(4, 120.0).replicas == 10, "from 5 by ×2"
    assert endpoint.keep(30, 120.0).replicas == 18
    assert endpoint.recorded is not None
    assert endpoint.recorded.reason is R.CONCURRENCY


def test_what_was_asked_for_is_kept_for_five_minutes_and_no_longer() -> None:
    endpoint = Endpoint(count=3)
    endpoint.keep(400, 16.0)
    held = endpoint.under(1.0)
    assert (held.replicas, held.reason) == (3, R.HELD)
    assert "3 were asked for at" in held.message
    assert endpoint.keep(296, 1.0).replicas == 3
    assert endpoint.keep(6, 1.0).replicas == 1


def test_a_slow_start_keeps_it_longer() -> None:
    endpoint = Endpoint(count=3, start_p95_s=120.0)
    endpoint.keep(700, 16.0)
    assert endpoint.keep(590, 1.0).replicas == 3
    assert endpoint.keep(20, 1.0).replicas == 1


def test_it_goes_down_by_half_at_most_in_fifteen_seconds() -> None:
    endpoint = Endpoint(count=16)
    endpoint.keep(400, 100.0)
    assert endpoint.keep(299, 1.0).replicas == 16
    assert endpoint.keep(4, 1.0).replicas == 8
    assert endpoint.keep(12, 1.0).replicas == 8
    assert endpoint.keep(6, 1.0).replicas == 4


def test_a_new_leader_does_not_lower_what_it_has_not_watched_long_enough() -> None:
    endpoint = Endpoint(count=6)
    first = endpoint.under(1.0)
    assert (first.replicas, first.reason) == (6, R.HELD)
    assert "is not known" in first.message
    assert endpoint.keep(296, 1.0).replicas == 6
    assert endpoint.keep(10, 1.0).replicas == 3


@pytest.mark.parametrize("gap_s", [31.0, 3600.0, -3600.0])
def test_a_pause_or_a_clock_that_jumps_begins_anew(gap_s: float) -> None:
    endpoint = Endpoint(count=6)
    endpoint.keep(400, 36.0)
    endpoint.now += timedelta(seconds=gap_s)
    assert endpoint.keep(290, 1.0).replicas == 6


def test_while_a_rollout_moves_it_rises_and_does_not_fall() -> None:
    endpoint = Endpoint(count=3)
    endpoint.keep(400, 16.0)
    endpoint.supply = msgspec.structs.replace(endpoint.supply, rolling=True)
    decision = endpoint.keep(400, 1.0)
    assert (decision.replicas, decision.reason) == (3, R.ROLLOUT)
    assert endpoint.under(30.0).replicas == 6


@pytest.mark.parametrize("age_s", [10.5, 60, 86_400])
def test_without_fresh_data_the_count_stays(age_s: float) -> None:
    endpoint = Endpoint(count=3)
    endpoint.keep(400, 16.0)
    for stable in (0.0, 900.0):
        old = msgspec.structs.replace(endpoint.load(stable), at=endpoint.now + timedelta(seconds=2 - age_s))
        decision = endpoint.hear(old)
        assert (decision.replicas, decision.reason) == (3, R.NO_DATA)
    assert endpoint.hear(None).replicas == 3


def test_data_that_is_nearly_old_is_still_used() -> None:
    endpoint = Endpoint(count=1)
    assert endpoint.hear(msgspec.structs.replace(endpoint.load(20.0), at=endpoint.now - timedelta(seconds=8))).replicas == 4


def test_a_gateway_that_counts_anew_is_not_believed_for_a_minute() -> None:
    endpoint = Endpoint(count=3)
    endpoint.keep(400, 16.0)
    began = endpoint.now
    for _ in range(29):
        decision = endpoint.under(0.0, since=began)
        assert (decision.replicas, decision.reason) == (3, R.HELD)
    assert endpoint.under(900.0, since=began - timedelta(seconds=60)).replicas == 7


def test_while_one_of_several_gateways_is_silent_the_count_only_goes_up() -> None:
    """Its requests may go on, and those that it loses come to the others."""
    endpoint = Endpoint(count=3)
    endpoint.keep(400, 16.0)
    endpoint.unheard = Unheard(silent=("host-2",))
    silent = endpoint.keep(600, 1.0)
    assert (silent.replicas, silent.reason) == (3, R.NO_DATA)
    assert silent.message == "gateway host-2 has not told for 10 s how much is under way there, so the count is not lowered"
    risen = endpoint.under(36.0)
    assert (risen.replicas, risen.reason) == (6, R.CONCURRENCY)


def test_a_gateway_that_is_lost_is_not_waited_for_and_the_hold_begins_then() -> None:
    endpoint = Endpoint(count=3)
    endpoint.keep(400, 16.0)
    endpoint.unheard = Unheard(silent=("host-2",))
    endpoint.keep(900, 1.0)
    endpoint.unheard = Unheard(left_out=("host-2",))
    held = endpoint.keep(296, 1.0)
    assert (held.replicas, held.reason) == (3, R.HELD)
    assert held.message.endswith("; gateway host-2 has been silent for so long that nothing there is counted")
    assert endpoint.keep(6, 1.0).replicas == 1


@pytest.mark.parametrize("missing", [{"at": NOON}, {"since": NOON + timedelta(days=1)}])
def test_what_was_not_seen_may_have_been_needed_so_that_the_hold_begins_when_it_is_seen_again(missing: dict[str, datetime]) -> None:
    endpoint = Endpoint(count=3)
    endpoint.keep(400, 16.0)
    endpoint.keep(600, 16.0, **missing)
    held = endpoint.under(1.0)
    assert (held.replicas, held.reason) == (3, R.HELD)
    assert endpoint.keep(294, 1.0).replicas == 3
    assert endpoint.keep(8, 1.0).replicas == 1


def test_what_was_told_later_than_now_says_nothing() -> None:
    """A clock was set back since."""
    endpoint = Endpoint(count=2)
    decision = endpoint.hear(endpoint.load(60.0, at=NOON + timedelta(hours=1)))
    assert (decision.replicas, decision.reason) == (2, R.NO_DATA)
