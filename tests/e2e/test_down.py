"""`down` in the midst of traffic: what comes is refused as such, and what it ends counts as no failure afterwards."""

import pytest

from tests.e2e.shop import PROJECT, Shop
from tests.harness.load import SteadyLoad
from tests.harness.stack import Stack

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(240)]


def test_down_refuses_what_comes_and_what_it_ends_has_not_failed() -> None:
    with Stack() as stack:
        shop = Shop(stack)
        shop.register("v1")
        shop.create("x", "v1", "--min-replicas", "2", "--max-replicas", "2")
        with SteadyLoad(shop.base_url, shop.key, "x", rate=40, long_streams=4, long_body={"max_tokens": 20}) as load:
            load.answer_at_least(40)
            stack.fleetform("down")
        told = {loss.status for loss in load.lost}
        assert told <= {None, 503}, "no connection, or no replica: never an error of an engine on its way out"
        stack.up()
        stack.fleetform("endpoint", "wait", "x", "--project", PROJECT)
        reasons = {event["reason"] for event in stack.answer("endpoint", "events", "x", "--project", PROJECT)}
        assert not reasons & {"CrashLoop", "ReplicaFailed"}, reasons
        assert "condition Degraded\tno None\n" in stack.fleetform("endpoint", "get", "x", "--project", PROJECT)
