"""What is known of a load: summed over gateways, and only as old as it is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleetform.domain.load import EndpointLoad, EngineLoad, GatewayLoad, HostLoad, ReplicaLoad
from fleetform.planner.autoscale import Unheard
from fleetform.reconciler.loads import Loads
from tests.builders import NOON

KEY = "acme/chat"
WEDNESDAY = datetime(2031, 7, 2, 3, tzinfo=UTC)
"""A host's clock that stands elsewhere."""


def told(host: str = "host-1", at: datetime = WEDNESDAY, counted_s: float = 3600, **endpoint: Any) -> HostLoad:
    endpoints = (EndpointLoad(key=KEY, **{"stable": 0.0, "burst": 0.0} | endpoint),) if endpoint else ()
    replicas = (ReplicaLoad(replica_id="r1", in_flight=2, served=40),)
    return HostLoad(host=host, gateway=GatewayLoad(at=at, since=at - timedelta(seconds=counted_s), endpoints=endpoints, replicas=replicas))


def test_before_any_gateway_has_told_nothing_is_known() -> None:
    loads = Loads()
    assert loads.sample(KEY, (), NOON) is None
    assert loads.in_flight("r1") is None
    loads.take(HostLoad(host="host-2"), NOON)
    assert loads.sample(KEY, (), NOON) is None


def test_gateways_are_summed_and_the_oldest_and_youngest_of_them_count() -> None:
    loads = Loads()
    loads.take(told("host-1", stable=3.0, burst=1.0, queued=1, idle_s=40.0), NOON)
    loads.take(told("host-2", counted_s=20, stable=2.0, burst=9.0, queued=2, idle_s=7.0), NOON + timedelta(seconds=4))
    found = loads.sample(KEY, (), NOON + timedelta(seconds=5))
    assert found is not None
    assert (found.stable, found.burst, found.queued) == (5.0, 10.0, 3)
    assert found.at == NOON
    assert found.since == NOON + timedelta(seconds=4 - 20)
    assert found.idle_s == 8.0
    assert (loads.in_flight("r1"), loads.in_flight("r2"), loads.served("r1"), loads.served("r2")) == (4, 0, 80, None)


def test_the_same_measurement_told_again_is_no_news() -> None:
    """A sampler that stands still behind a host that answers: the data grows old."""
    loads = Loads()
    for second in range(30):
        loads.take(told(stable=3.0), NOON + timedelta(seconds=second))
    found = loads.sample(KEY, (), NOON + timedelta(seconds=30))
    assert found is not None
    assert found.at == NOON


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_host_whose_clock_is_set_is_as_fresh_as_before(jump: timedelta) -> None:
    loads = Loads()
    loads.take(told(stable=3.0), NOON)
    loads.take(told(at=WEDNESDAY + jump, stable=4.0), NOON + timedelta(seconds=2))
    found = loads.sample(KEY, (), NOON + timedelta(seconds=2))
    assert found is not None
    assert (found.at, found.since, found.stable) == (NOON + timedelta(seconds=2), NOON + timedelta(seconds=2 - 3600), 4.0)


def test_what_a_gateway_leaves_out_rests_since_it_was_last_seen() -> None:
    loads = Loads()
    loads.take(told(stable=1.0, idle_s=0.0), NOON)
    assert loads.sample(KEY, (), NOON) is not None
    loads.take(told(at=WEDNESDAY + timedelta(seconds=90)), NOON + timedelta(seconds=90))
    found = loads.sample(KEY, (), NOON + timedelta(seconds=100))
    assert found is not None
    assert (found.stable, found.idle_s) == (0.0, 100.0)
    assert not loads.is_busy(KEY)


def test_of_what_was_never_seen_only_a_minute_of_rest_is_known() -> None:
    loads = Loads()
    loads.take(told(), NOON)
    first = loads.sample(KEY, (), NOON)
    later = loads.sample(KEY, (), NOON + timedelta(seconds=30))
    assert first is not None
    assert later is not None
    assert (first.idle_s, later.idle_s) == (60.0, 90.0)


def test_what_the_gateways_that_are_heard_tell_is_counted_and_who_is_missing_is_said() -> None:
    loads = Loads()
    loads.take(told("host-1", stable=1.0), NOON)
    loads.take(told("host-2", stable=2.0), NOON)
    later = NOON + timedelta(seconds=20)
    loads.take(told("host-2", at=WEDNESDAY + timedelta(seconds=20), stable=4.0), later)
    found = loads.sample(KEY, (), later)
    assert found is not None
    assert (found.at, found.stable) == (later, 4.0)
    assert loads.unheard(later) == Unheard(silent=("host-1",))
    assert loads.unheard(later + timedelta(seconds=60)) == Unheard(), "nobody is heard: that is another thing"
    oldest = loads.sample(KEY, (), later + timedelta(seconds=60))
    assert oldest is not None
    assert (oldest.at, oldest.stable) == (NOON, 5.0)


def test_a_gateway_that_is_lost_is_not_counted_until_it_tells_again() -> None:
    loads = Loads()
    loads.take(told("host-1", stable=1.0), NOON)
    loads.take(told("host-2", stable=2.0), NOON)
    loads.take(HostLoad(host="host-3", engines=(EngineLoad(replica_id="r3", at=NOON),)), NOON)
    assert loads.engine("r3") is not None
    loads.leave_out({"host-1", "host-3"})
    assert loads.engine("r3") is None
    assert (loads.in_flight("r1"), loads.unheard(NOON)) == (2, Unheard(left_out=("host-1",)))
    found = loads.sample(KEY, (), NOON)
    assert found is not None
    assert found.stable == 2.0
    loads.take(told("host-1", at=WEDNESDAY + timedelta(seconds=2), stable=1.0), NOON)
    assert (loads.in_flight("r1"), loads.unheard(NOON)) == (4, Unheard())


def test_a_clock_that_is_set_back_makes_no_silence_fresh_and_no_rest_shorter() -> None:
    loads = Loads()
    loads.take(told("host-1", stable=1.0, idle_s=0.0), NOON)
    assert loads.sample(KEY, (), NOON) is not None
    earlier = NOON - timedelta(hours=1)
    assert loads.unheard(earlier) == Unheard()
    loads.take(told("host-2", at=WEDNESDAY + timedelta(seconds=2)), earlier)
    assert loads.unheard(earlier) == Unheard(silent=("host-1",))
    found = loads.sample(KEY, (), earlier + timedelta(seconds=4))
    assert found is not None
    later = loads.sample(KEY, (), earlier + timedelta(seconds=64))
    assert later is not None
    assert later.idle_s - found.idle_s == 60.0


def test_what_nobody_asks_for_is_not_remembered() -> None:
    """Gateways tell of every endpoint, also of those that are gone."""
    loads = Loads()
    for number in range(50):
        gone = EndpointLoad(key=f"acme/gone-{number}", stable=0.0, burst=0.0, idle_s=3.0)
        loads.take(
            HostLoad(host="host-1", gateway=GatewayLoad(at=WEDNESDAY + timedelta(seconds=number), since=WEDNESDAY, endpoints=(gone,))), NOON
        )
    assert loads.sample(KEY, (), NOON) is not None
    assert loads.remembered == 1
    loads.forget(KEY)
    assert loads.remembered == 0


def test_engines_tell_tokens_where_they_do() -> None:
    loads = Loads()
    engines = (
        EngineLoad(replica_id="r1", at=NOON, kv_usage=0.5, token_capacity=10_000, waiting=3, prompt_tokens_mean=200.0),
        EngineLoad(replica_id="r2", at=NOON, kv_usage=0.25, token_capacity=8_000),
        EngineLoad(replica_id="r3", at=NOON, memory_mib=100),
        EngineLoad(replica_id="other", at=NOON, kv_usage=1.0, token_capacity=10_000),
    )
    loads.take(HostLoad(host="host-1", gateway=GatewayLoad(at=WEDNESDAY, since=WEDNESDAY), engines=engines), NOON)
    found = loads.sample(KEY, ("r1", "r2", "r3", "gone"), NOON)
    assert found is not None
    assert (found.tokens_in_use, found.tokens_waiting, found.token_capacity) == (7_000.0, 600.0, 8_000)
    none = loads.sample(KEY, ("r3",), NOON)
    assert none is not None
    assert (none.tokens_in_use, none.token_capacity) == (None, None)


def test_an_engine_that_says_nothing_new_is_not_counted_by_what_it_said_last() -> None:
    """It hangs, or its host does not answer: what its memory held then would keep the count where it was."""
    loads = Loads()

    def told_at(second: int, *hung: str) -> None:
        engines = tuple(
            EngineLoad(
                replica_id=replica_id,
                at=WEDNESDAY if replica_id in hung else WEDNESDAY + timedelta(seconds=second),
                kv_usage=0.5,
                token_capacity=10_000,
            )
            for replica_id in ("r1", "r2")
        )
        gateway = GatewayLoad(at=WEDNESDAY + timedelta(seconds=second), since=WEDNESDAY)
        loads.take(HostLoad(host="host-1", gateway=gateway, engines=engines), NOON + timedelta(seconds=second))

    for second in range(0, 20, 2):
        told_at(second, "r2")
    found = loads.sample(KEY, ("r1", "r2"), NOON + timedelta(seconds=19))
    assert found is not None
    assert (found.tokens_in_use, found.token_capacity) == (5_000.0, 10_000)
    later = loads.sample(KEY, ("r1", "r2"), NOON + timedelta(seconds=60))
    assert later is not None
    assert later.tokens_in_use is None
