"""The list of an endpoint's rollouts."""

from datetime import timedelta
from typing import Any

import pytest

from fleetform.domain.rollout import Rollout, RolloutPhase, RolloutStep, StepOutcome
from fleetform.store import rollouts
from tests.control_api import Api, endpoint_spec

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
PATH = "/projects/acme/endpoints/chat"


def a_rollout(api: Api, generation: int, phase: RolloutPhase = RolloutPhase.RUNNING, outcome: StepOutcome = StepOutcome.RUNNING) -> Rollout:
    step = RolloutStep(percent=10, weights={"v1": 90, "v2": 10}, outcome=outcome, started_at=api.clock(), evidence=("as good",))
    started_at = api.clock() + timedelta(minutes=generation)
    return Rollout(
        generation=generation, phase=phase, strategy="surge", started_at=started_at, old={"v1": 100}, new={"v2": 100}, steps=(step,)
    )


async def test_they_are_listed_newest_first_and_a_later_word_takes_the_place_of_an_earlier_one(api: Api, endpoint: dict[str, Any]) -> None:
    uid = endpoint["metadata"]["uid"]
    await rollouts.write(uid, [a_rollout(api, 1), a_rollout(api, 2)])
    await rollouts.write(uid, [a_rollout(api, 1, RolloutPhase.COMPLETED, StepOutcome.PASSED)])
    first = (await api.get(f"{PATH}/rollouts?limit=1")).json()
    second = (await api.get(f"{PATH}/rollouts?limit=1&cursor={first['next_cursor']}")).json()
    assert [first["items"][0]["generation"], second["items"][0]["generation"], second["next_cursor"]] == [2, 1, None]
    told = second["items"][0]
    assert (told["phase"], told["old"], told["new"]) == ("Completed", {"v1": 100}, {"v2": 100})
    assert told["steps"][0]["outcome"] == "Passed"
    assert told["steps"][0]["evidence"] == ["as good"]


async def test_an_endpoint_that_has_had_none_has_an_empty_list(api: Api, endpoint: dict[str, Any]) -> None:
    assert (await api.get(f"{PATH}/rollouts")).json() == {"items": [], "next_cursor": None}


async def test_rollouts_of_another_endpoint_are_not_told(api: Api, endpoint: dict[str, Any]) -> None:
    other = await api.must_put("/projects/acme/endpoints/other", endpoint_spec())
    await rollouts.write(other["metadata"]["uid"], [a_rollout(api, 1)])
    assert (await api.get(f"{PATH}/rollouts")).json()["items"] == []


@pytest.mark.parametrize("cursor", ["x", "WyJhIl0", "WyItMSJd", "WyI5OTk5OTk5OTk5OTk5OTk5OTk5OTk5Il0"])
async def test_a_cursor_that_is_not_ours_is_refused(api: Api, endpoint: dict[str, Any], cursor: str) -> None:
    refused = await api.get(f"{PATH}/rollouts?cursor={cursor}")
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/cursor"


async def test_an_unknown_endpoint_is_404(api: Api, endpoint: dict[str, Any]) -> None:
    assert (await api.get("/projects/acme/endpoints/nobody/rollouts")).status_code == 404
