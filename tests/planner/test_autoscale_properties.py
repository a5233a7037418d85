"""What holds of a replica count for every load and every history."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetform.domain.scaling import LoadSample
from fleetform.planner.demand import Policy, load_within, room_for
from tests.planner.autoscaled import Endpoint

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
