"""The rule of the replica count: what each load asks for, how fast it is followed, and when it is not."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetform.domain.scaling import LoadSample, ScalingDecision, ScalingReason
from fleetform.planner.autoscale import Memory, Supply, Unheard, desired_replicas, differs
from fleetform.planner.count import told
from fleetform.planner.demand import Policy, edges, load_within, room_for
from tests.builders import NOON

R = ScalingReason


class Endpoint:
    """One endpoint whose decisions are recorded as the loop records them. Every `hear` is two seconds later."""

    def __init__(self, count: int = 1, least: int = 1, most: int = 20, **policy: Any) -> None:
        self.policy = Policy(**{"least": least, "most": most, "target_concurrency": 8, "idle_s": 300} | policy)
        self.supply = Supply(count=count, ready_since=NOON - timedelta(hours=1))
        self.memory: Memory | None = None
        self.now = NOON
        self.recorded: ScalingDecision | None = None
        self.unheard = Unheard()

    def hear(self, load: LoadSample | None, held: int = 0, after_s: float = 2) -> ScalingDecision:
        """One decision after some seconds, recorded when it differs."""
        self.now += timedelta(seconds=after_s)
        decision, self.memory = desired_replicas(self.policy, load, self.supply, self.memory, self.now, held, self.unheard)
        if differs(self.recorded, decision):
            self.recorded = decision
            self.supply = msgspec.structs.replace(self.supply, count=decision.replicas)
        return decision

    def load(self, stable: float = 0.0, burst: float | None = None, **fields: Any) -> LoadSample:
        """A fresh sample; a gateway that has counted for an hour."""
        started: dict[str, Any] = {"at": self.now + timedelta(seconds=2), "since": NOON - timedelta(hours=1)}
        return LoadSample(**started | {"stable": stable, "burst": stable if burst is None else burst} | fields)

    def under(self, stable: float, burst: float | None = None, **fields: Any) -> ScalingDecision:
        """One decision under that load."""
        return self.hear(self.load(stable, burst, **fields))

    def keep(self, seconds: float, stable: float, **fields: Any) -> ScalingDecision:
        """The last decision of so many seconds under that load."""
        for _ in range(int(seconds / 2)):
            decision = self.under(stable, **fields)
        return decision

    @property
    def count(self) -> int:
        return self.supply.count


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


# --- to and from zero ---


def resting(**policy: Any) -> Endpoint:
    return Endpoint(count=0, least=0, **policy)


def test_what_rests_stays_at_rest_without_a_request_whatever_is_known() -> None:
    endpoint = resting()
    # The minute's average still holds what was served before it went to rest.
    for load in (endpoint.load(3.0, idle_s=40.0), endpoint.load(since=NOON), None):
        assert endpoint.hear(load).replicas == 0


@pytest.mark.parametrize("held", [1, 5])
def test_a_held_request_wakes_at_once_even_where_nothing_else_is_known(held: int) -> None:
    for load in (None, resting().load(since=NOON, queued=held), resting().load(0.0, 0.2, queued=held)):
        endpoint = resting()
        decision = endpoint.hear(load, held=held, after_s=0)
        assert (decision.replicas, decision.reason) == (1, R.WOKEN)
        assert decision.message == f"{held} {'request is' if held == 1 else 'requests are'} held and nothing runs"


def test_many_held_requests_wake_as_many_as_they_ask_for() -> None:
    assert resting().under(2.0, 20.0, queued=60).replicas == 4


def test_each_version_with_traffic_is_woken() -> None:
    assert resting(tracks=3).hear(None, held=1).replicas == 3


def test_it_rests_only_after_idle_s_without_a_request() -> None:
    endpoint = Endpoint(count=1, least=0, idle_s=60)
    endpoint.keep(10, 0.0, idle_s=0.0)
    assert endpoint.under(0.0, idle_s=59.9).replicas == 1
    decision = endpoint.under(0.3, idle_s=60.0)
    assert (decision.replicas, decision.reason, decision.message) == (0, R.IDLE, "no request for 60 s (idle_s)")


def test_idle_s_is_shorter_than_the_hold_and_wins() -> None:
    endpoint = Endpoint(count=4, least=0, idle_s=60)
    endpoint.keep(60, 20.0, idle_s=0.0)
    assert endpoint.under(5.0, idle_s=61.0).replicas == 0


def test_a_replica_that_has_just_become_ready_is_not_taken_for_idle() -> None:
    endpoint = Endpoint(count=1, least=0, idle_s=60)
    endpoint.supply = msgspec.structs.replace(endpoint.supply, ready_since=NOON - timedelta(seconds=5))
    assert endpoint.under(0.0, idle_s=500.0).replicas == 1
    assert endpoint.keep(60, 0.0, idle_s=500.0).replicas == 0


def test_a_request_that_is_held_keeps_the_last_one() -> None:
    endpoint = Endpoint(count=1, least=0, idle_s=60)
    assert endpoint.under(0.0, idle_s=500.0, queued=1).replicas == 1


def test_a_rollout_keeps_it_from_resting() -> None:
    endpoint = Endpoint(count=1, least=0, idle_s=60)
    endpoint.supply = msgspec.structs.replace(endpoint.supply, rolling=True)
    assert endpoint.under(0.0, idle_s=500.0).replicas == 1


def test_an_endpoint_that_may_not_rest_never_does() -> None:
    assert Endpoint(count=1, least=1).keep(2000, 0.0, idle_s=5000.0).replicas == 1


# --- bounds, and what is written down ---


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


# --- what holds for every load ---

LOADS = st.floats(0, 500)


@given(LOADS)
def test_room_and_load_are_each_other_s_inverse(load: float) -> None:
    assert load_within(room_for(load)) == pytest.approx(load, abs=1e-6)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    least = draw(st.integers(0, 6))
    return Policy(
        least=least,
        most=draw(st.integers(max(1, least), 30)),
        target_concurrency=draw(st.integers(1, 64)),
        idle_s=draw(st.sampled_from([30, 300, 3600])),
        start_p95_s=draw(st.sampled_from([None, 3.0, 120.0])),
    )


@st.composite
def samples(draw: st.DrawFn, now: datetime) -> LoadSample | None:
    if draw(st.integers(0, 9)) == 0:
        return None
    return LoadSample(
        at=now - timedelta(seconds=draw(st.sampled_from([0, 0, 0, 1, 9, 30]))),
        since=now - timedelta(seconds=draw(st.sampled_from([3600, 3600, 3600, 5]))),
        stable=draw(LOADS),
        burst=draw(LOADS),
        queued=draw(st.sampled_from([0, 0, 1, 50])),
        idle_s=draw(st.sampled_from([0.0, 29.0, 300.0, 4000.0])),
        tokens_in_use=draw(st.sampled_from([None, 0.0, 1e5])),
        token_capacity=draw(st.sampled_from([None, 10_000])),
    )


@settings(max_examples=300, deadline=None)
@given(policy=policies(), data=st.data())
def test_no_history_leads_beyond_the_bounds_or_faster_than_the_steps(policy: Policy, data: st.DataObject) -> None:
    endpoint = Endpoint(count=data.draw(st.integers(policy.least, policy.most)))
    endpoint.policy = policy
    counts = [(endpoint.now, endpoint.count)]
    for _ in range(data.draw(st.integers(1, 40))):
        after_s = data.draw(st.sampled_from([2, 2, 2, 2, 14, 20]))
        before = endpoint.count
        load = data.draw(samples(endpoint.now + timedelta(seconds=after_s)))
        decision = endpoint.hear(load, after_s=after_s)
        counts.append((endpoint.now, decision.replicas))
        assert policy.least <= decision.replicas <= policy.most
        assert decision.message
        blind = load is None or endpoint.now - load.at > timedelta(seconds=10) or endpoint.now - load.since < timedelta(seconds=60)
        if blind and before > 0:
            assert decision.replicas == before, "nothing changes without knowledge"
        if decision.replicas > before:
            recent = [count for at, count in counts[:-1] if at > endpoint.now - timedelta(seconds=15)]
            base = min([before, *recent])
            assert decision.replicas <= max(2 * base, base + 4, policy.least, 1)
        if 0 < decision.replicas < before:
            assert decision.replicas >= before // 2 - 1


@given(policy=policies(), count=st.integers(1, 30), loads=st.tuples(LOADS, LOADS))
def test_more_load_never_asks_for_fewer(policy: Policy, count: int, loads: tuple[float, float]) -> None:
    low, high = sorted(loads)
    found = [Endpoint(count=count, least=policy.least, most=policy.most).under(load).replicas for load in (low, high)]
    assert found[0] <= found[1]


@given(count=st.integers(1, 20), shares=st.lists(st.floats(0.91, 1.09), min_size=5, max_size=40))
def test_within_a_tenth_of_what_runs_nothing_ever_changes(count: int, shares: list[float]) -> None:
    endpoint = Endpoint(count=count)
    for share in shares:
        assert endpoint.under(load_within(share * count * 8)).replicas == count


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
