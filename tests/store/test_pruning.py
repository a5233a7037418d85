"""What is told of the past ends after its retention, and what explains the present stays."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from fleetform import settings
from fleetform.domain.access import Role
from fleetform.domain.project import CredentialRequest, TokenSpec
from fleetform.domain.rollout import Rollout, RolloutPhase
from fleetform.errors import NotLeader, SetupError
from fleetform.store import checking, credentials, database, endpoints, events, pruning, rollouts, tokens
from fleetform.store.lease import Claim
from fleetform.store.writing import ANY
from tests.builders import NOON
from tests.reconciler.region import Region, a_region

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
KEPT_SINCE = NOON - timedelta(days=90)


class Past:
    """A region whose loop does not run, and the claim of its leader."""

    def __init__(self, region: Region, claim: Claim) -> None:
        self.region, self.claim = region, claim

    async def endpoint(self, name: str = "chat", at: datetime = NOON) -> UUID:
        self.region.now = at
        made = await self.region.apply(name)
        self.region.now = NOON
        return UUID(made.metadata.uid)

    async def prune(self) -> int:
        return await pruning.prune(KEPT_SINCE, self.claim.shard, self.claim.epoch)


@pytest.fixture
async def past(store: str, tmp_path: Path) -> AsyncIterator[Past]:
    async with a_region(tmp_path, store) as region:
        await region.register("v1")
        claim = Claim(store, "default", "test")
        assert await claim.take()
        yield Past(region, claim)
        await claim.give_up()


async def told(uid: UUID) -> list[tuple[str, str]]:
    """What events say of it, the oldest first."""
    found = (await events.page(uid, 200, None)).items
    return [(event.reason, event.message) for event in reversed(found)]


async def happened(uid: UUID, reason: str, *days_ago: float) -> None:
    for days in days_ago:
        await events.append(uid, "acme", NOON - timedelta(days=days), reason, f"{days} days ago")


async def test_old_events_go_but_for_the_newest_of_each_reason(past: Past) -> None:
    uid = await past.endpoint(at=NOON - timedelta(days=400))
    await happened(uid, "ScaledUp", 300, 200, 100)
    await happened(uid, "ScaledDown", 250, 89, 1)
    await happened(uid, "Updated", 91)
    assert await past.prune() == 3
    assert await told(uid) == [
        ("Created", "generation 1 was declared"),
        ("ScaledUp", "100 days ago"),
        ("ScaledDown", "89 days ago"),
        ("ScaledDown", "1 days ago"),
        ("Updated", "91 days ago"),
    ]
    assert await past.prune() == 0
    assert await checking.unannounced() == []


async def test_it_goes_by_batches_and_no_further_than_a_bound_at_a_time(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "BATCH", 3)
    monkeypatch.setattr(pruning, "BATCHES_MAX", 2)
    uid = await past.endpoint()
    await happened(uid, "ScaledUp", *range(120, 100, -1))
    assert [await past.prune() for _ in range(4)] == [6, 6, 6, 1]
    assert [message for reason, message in await told(uid) if reason == "ScaledUp"] == ["101 days ago"]


async def test_who_does_not_lead_removes_nothing(past: Past) -> None:
    uid = await past.endpoint()
    await happened(uid, "ScaledUp", 120, 110)
    with pytest.raises(NotLeader):
        await pruning.prune(KEPT_SINCE, past.claim.shard, past.claim.epoch - 1)
    assert len([reason for reason, _ in await told(uid) if reason == "ScaledUp"]) == 2


async def test_nothing_is_left_of_an_endpoint_that_is_long_gone(past: Past) -> None:
    gone, recent, living = await past.endpoint("gone"), await past.endpoint("recent"), await past.endpoint("living")
    await database.rows("UPDATE event SET at = {}", NOON - timedelta(days=100))
    for uid, days in ((gone, 95), (recent, 5)):
        async with database.transaction():
            await endpoints.bury(uid, NOON - timedelta(days=days))
    await past.prune()
    left = {row["uid"] for row in await database.rows("SELECT uid FROM endpoint")}
    assert left == {recent, living}
    assert await told(gone) == []
    assert [reason for reason, _ in await told(recent)] == ["Deleted"]
    assert [reason for reason, _ in await told(living)] == ["Created"]


async def test_events_of_a_version_that_is_there_are_kept_and_those_of_nobody_go(past: Past) -> None:
    (version,) = await database.rows("SELECT uid FROM model_version")
    nobody = uuid4()
    await happened(nobody, "Registered", 100)
    await database.rows("UPDATE event SET at = {}", NOON - timedelta(days=100))
    assert await past.prune() == 1
    assert [reason for reason, _ in await told(version["uid"])] == ["Registered"]
    assert await told(nobody) == []


async def test_old_rollouts_go_but_for_the_newest_of_an_endpoint(past: Past) -> None:
    uid, other = await past.endpoint(), await past.endpoint("other")
    for owner, generation, days in ((uid, 1, 200), (uid, 2, 150), (uid, 3, 10), (other, 1, 300), (other, 2, 299)):
        at = NOON - timedelta(days=days)
        record = Rollout(generation=generation, phase=RolloutPhase.COMPLETED, strategy="surge", started_at=at, old={}, new={"v1": 100})
        async with database.transaction():
            await rollouts.write(str(owner), (record,))
    assert await past.prune() == 3
    assert [rollout.generation for rollout in (await rollouts.page(uid, 10, None)).items] == [3]
    assert [rollout.generation for rollout in (await rollouts.page(other, 10, None)).items] == [2]


async def test_credentials_that_expired_long_ago_go_with_tokens_that_are_gone(past: Past) -> None:
    region = past.region
    await tokens.put("acme", "ci", TokenSpec(roles=[Role.VIEWER]), None, ANY, NOON)
    for minted_at in (NOON - timedelta(days=5), NOON - timedelta(days=200)):  # a token forgets by itself what expired before it is minted
        await credentials.mint("acme", "ci", CredentialRequest(ttl_s=3600), None, region.key, "local", minted_at)
    await tokens.delete("acme", "ci", ANY, NOON)
    assert await past.prune() == 1
    (left,) = await database.rows("SELECT expires_at FROM credential")
    assert left["expires_at"] > KEPT_SINCE


async def test_the_leader_prunes(past: Past) -> None:
    uid = await past.endpoint()
    await happened(uid, "ScaledUp", 120, 110, 100)
    await past.claim.give_up()
    past.region.start()

    async def pruned() -> bool:
        return [message for reason, message in await told(uid) if reason == "ScaledUp"] == ["100 days ago"]

    await past.region.until("what is old is gone", pruned)


def test_the_retention_is_a_setting() -> None:
    assert settings.load({}).events_days == 90
    assert settings.load({"FLEETFORM_EVENTS_DAYS": "7"}).events_days == 7


@pytest.mark.parametrize("wrong", ["0", "-1", "a week", "36501", "9" * 30])
def test_a_retention_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(SetupError, match="FLEETFORM_EVENTS_DAYS"):
        settings.load({"FLEETFORM_EVENTS_DAYS": wrong})
