"""Row 16: an endpoint that makes the loop fail says so and backs off; all others are looked after; mended, it recovers by itself."""

from pathlib import Path
from typing import Any

import pytest

from fleetform.domain.conditions import ConditionType, condition
from fleetform.planner import plan
from fleetform.reconciler import endpoints as endpoint_loop
from fleetform.store import endpoints
from tests.reconciler.region import a_region

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def test_row_16_an_endpoint_that_meets_a_bug_says_so_and_the_others_are_looked_after(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def planned(desired: Any, observed: Any, now: Any) -> Any:
        nonlocal tries
        if desired.name == "poison":
            tries += 1
            raise ZeroDivisionError("a bug")
        return plan(desired, observed, now)

    async with a_region(tmp_path, store) as region:
        monkeypatch.setattr(endpoint_loop, "plan", planned)
        region.start()
        await region.register("v1")
        await region.apply("poison")
        for number in range(5):
            await region.apply(f"healthy-{number}")
        for number in range(5):
            assert (await region.settled(f"healthy-{number}")).status.ready

        async def told() -> bool:
            found = await endpoints.get("acme", "poison")
            held = condition(found.status.conditions, ConditionType.PROGRESSING)
            return held is not None and "ZeroDivisionError" in held.message

        await region.until("the bug is shown", told)
        assert tries < 10, "it is not tried again and again"
        monkeypatch.setattr(endpoint_loop, "plan", plan)

        async def recovers() -> bool:
            region.pass_time(30)
            return (await endpoints.get("acme", "poison")).status.ready

        await region.until("it recovers by itself", recovers)
