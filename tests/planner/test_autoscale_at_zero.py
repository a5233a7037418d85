"""The rule of the replica count to and from zero."""

from datetime import timedelta

import msgspec
import pytest

from fleetform.domain.scaling import ScalingReason
from tests.builders import NOON
from tests.planner.autoscaled import Endpoint, resting

R = ScalingReason


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
