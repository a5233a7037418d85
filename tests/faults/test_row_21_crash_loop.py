"""Row 21: engines that end again and again: the old version keeps the traffic, pauses grow, the last log lines are told without secrets."""

import pytest

from tests.e2e.shop import Shop
from tests.harness.load import Load, nothing_lost
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(300)]


def test_row_21_a_version_that_crashes_is_rolled_back_and_its_last_words_reach_the_user(shop: Shop) -> None:
    shop.register("crashes", mode="crash")
    shop.create("steady", "v1")
    with Load(shop.client(), "steady", workers=2) as load, nothing_lost(load):
        load.answer_at_least(5)
        told = shop.update("steady", "--traffic-split", "crashes=100", fails=True)
        load.answer_at_least(5)
    assert "the weights do not fit this architecture" in told
    assert "hf_abcdefghijklmnopqrstuvwx" not in told
    status = shop.get("steady")["status"]
    assert status["rejected"]["reason"] == "Crashed"
    assert status["live"]["variants"]["v1"]["weight"] == 100
    shop.delete("steady")


@pytest.mark.parametrize("after_s", [2, pytest.param(30, marks=pytest.mark.faults)])
def test_row_21_an_engine_that_ends_again_and_again_is_replaced_after_growing_pauses(shop: Shop, after_s: int) -> None:
    """The region never gives up what once served: it says CrashLoop, and why."""
    version, name = f"dies-{after_s}", f"loop-{after_s}"
    shop.register(version, mode="crash-later", crash_after_s=after_s)
    shop.create(name, version)

    def in_a_loop() -> str | None:
        held = next(c for c in shop.get(name)["status"]["conditions"] if c["type"] == "Degraded")
        return str(held["message"]) if held["reason"] == "CrashLoop" and "failed 2 times" in held["message"] else None

    told = until("the crash loop is told", in_a_loop, timeout_s=2 * after_s + 60)
    assert "Crashed" in told
    assert "stub engine is ready" in told, "its last lines"
    shop.delete(name)
