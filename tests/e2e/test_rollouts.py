"""Rollouts of stub engines through real Envoy, judged by what the gateway and the engines measured."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.shop import PROJECT, Shop
from tests.harness.load import Load
from tests.harness.stack import Stack

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(240)]
HELD = ("--steps", "50,100", "--step-hold", "20s", "--bake", "60s")
"""The gateway counts in slices of five seconds, so that a hold of twenty has three whole ones."""


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with Stack() as stack:
        shop = Shop(stack)
        for version in ("v1", "v2"):
            shop.register(version)
        yield shop


def rollouts(shop: Shop, name: str) -> list[Any]:
    return list(shop.stack.answer("endpoint", "rollouts", name, "--project", PROJECT))


@pytest.mark.parametrize(
    ("version", "behaviour", "reason"),
    [
        ("failing", {"fails_beyond_tokens": 1}, "TooManyErrors"),
        ("slow", {"first_token_delay_s": 0.6}, "SlowFirstByte"),
    ],
)
def test_a_version_that_answers_badly_is_rolled_back_with_the_figures_of_both(
    shop: Shop, version: str, behaviour: dict[str, Any], reason: str
) -> None:
    name = f"judged-{version}"
    shop.register(version, **behaviour)
    shop.create(name, "v1")
    engines = set(shop.engines())
    with Load(shop.client(), name, workers=4) as load:
        load.answer_at_least(50)
        told = shop.update(name, "--traffic-split", f"{version}=100", *HELD, fails=True)
        lost = len(load.lost)
        load.answer_at_least(20)
    assert f"generation 2 was rolled back: {reason}" in told
    assert "the incumbent" in told
    assert "step 50%" in told, "the rollout is shown while it goes"
    assert len(load.lost) == lost, "nothing is lost once the old version has everything back"
    if version == "slow":
        assert load.lost == []
    status = shop.get(name)["status"]
    assert status["rejected"]["reason"] == reason
    assert status["live"]["variants"]["v1"]["weight"] == 100
    assert engines <= set(shop.engines()), "the old engine was never stopped"
    newest = rollouts(shop, name)[0]
    assert (newest["phase"], newest["reason"]) == ("RolledBack", reason)
    assert newest["evidence"] == status["rejected"]["evidence"]
    shop.delete(name)


def test_a_version_that_is_as_good_passes_every_step(shop: Shop) -> None:
    shop.create("judged-good", "v1")
    with Load(shop.client(), "judged-good", workers=4) as load:
        load.answer_at_least(50)
        shop.update("judged-good", "--traffic-split", "v2=100", *HELD)
    assert load.lost == []
    newest, first = rollouts(shop, "judged-good")
    assert (newest["phase"], first["phase"]) == ("Completed", "Completed")
    assert [step["outcome"] for step in newest["steps"]] == ["Passed", "Passed"], json.dumps(newest["steps"], indent=1)
    assert "requests" in newest["steps"][0]["evidence"][0]
    engines = shop.engines()
    with Load(shop.client(), "judged-good", workers=2) as load:
        load.answer_at_least(10)
        shop.update("judged-good", "--traffic-split", "v1=100,v2=0")
        load.answer_at_least(10)
    assert load.lost == []
    assert sorted(shop.engines()) == sorted(engines), "to go back starts and stops nothing"
    assert rollouts(shop, "judged-good")[0]["steps"][0]["percent"] == 100
    shop.delete("judged-good")


def test_a_swap_in_place_holds_requests_and_loses_none(shop: Shop) -> None:
    shop.run("instance-type", "set", "--name", "single", "--cpu-millis", "10", "--memory-mib", "64")
    shop.run("quota", "set", "--project", PROJECT, "--instance-type", "single", "--max-replicas", "1")
    shop.create("swapped", "v1", "--instance-type", "single", "--strategy", "swap")
    with Load(shop.client(), "swapped", workers=4) as load:
        load.answer_at_least(50)
        shop.update("swapped", "--traffic-split", "v2=100")
        load.answer_at_least(20)
    assert load.lost == []
    newest = rollouts(shop, "swapped")[0]
    assert (newest["phase"], newest["strategy"]) == ("Completed", "swap")
    events = shop.stack.answer("endpoint", "events", "swapped", "--project", PROJECT)
    assert any(event["reason"] == "SwapStarted" and "requests are held" in event["message"] for event in events)
    shop.delete("swapped")
