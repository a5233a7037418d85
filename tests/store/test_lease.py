"""One leader per shard, with an epoch that only grows."""

import asyncio

import pytest

from fleetform.errors import NotLeader
from fleetform.store import database, lease
from fleetform.store.lease import Claim

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def test_only_one_leads_until_it_gives_up(store: str) -> None:
    first, second = Claim(store, "s", "one"), Claim(store, "s", "two")
    assert await first.take()
    assert not await second.take()
    assert await first.renew()
    await first.give_up()
    assert await second.take()
    assert second.epoch == first.epoch + 1
    assert not await first.renew()
    await second.give_up()


async def test_a_dead_leader_is_followed_at_once(store: str) -> None:
    first, second = Claim(store, "s", "one"), Claim(store, "s", "two")
    assert await first.take()
    await database.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fleetform-lease' AND datname = current_database()"
    )
    assert await second.take()
    assert second.epoch == first.epoch + 1
    await first.give_up()
    await second.give_up()


async def test_a_stopped_leader_is_followed_when_its_lease_runs_out(store: str) -> None:
    first, second = Claim(store, "s", "one"), Claim(store, "s", "two")
    assert await first.take()
    await database.rows("UPDATE lease SET expires_at = now() - interval '1 second'")
    assert await second.take()
    assert not await first.renew()
    await first.give_up()
    await second.give_up()


async def test_a_stopped_leader_that_goes_on_does_not_take_the_shard_back_from_its_successor(store: str) -> None:
    first, second = Claim(store, "s", "one"), Claim(store, "s", "two")
    assert await first.take()
    await database.rows("UPDATE lease SET expires_at = now() - interval '1 second'")
    assert await second.take()
    assert not await first.renew()
    assert not await first.take(), "it still holds a session lock, and that must not count"
    assert not await first.take()
    third = Claim(store, "s", "three")
    assert not await third.take(), "nor must what it lets go of be another one's"
    assert await second.renew()
    assert not await third.take()
    for claim in (first, second, third):
        await claim.give_up()


async def test_a_claim_is_renewed_beside_any_write_and_taken_beside_none(store: str) -> None:
    """Where writes follow each other closely, a renewal that waits for those under way could wait for ever: others join them."""
    first, second = Claim(store, "s", "one"), Claim(store, "s", "two")
    assert await first.take()
    written = asyncio.Event()

    async def write() -> None:
        async with database.transaction():
            await lease.guard("s", first.epoch)
            guarded.set()
            await written.wait()

    guarded = asyncio.Event()
    writing = asyncio.create_task(write())
    await guarded.wait()
    async with asyncio.timeout(10):
        assert await first.renew()
    await database.rows("UPDATE lease SET expires_at = now() - interval '1 second'")
    taking = asyncio.create_task(second.take())
    waits = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(10):
        while not taking.done() and not (await database.rows(waits))[0]["n"]:
            await asyncio.sleep(0.01)
    assert not taking.done(), "nobody takes the shard over in the middle of a write"
    written.set()
    assert await taking
    await writing
    for claim in (first, second):
        await claim.give_up()


async def test_a_write_with_an_old_epoch_is_refused(store: str) -> None:
    first, second = Claim(store, "s", "one"), Claim(store, "s", "two")
    await first.take()
    old = first.epoch
    await first.give_up()
    await second.take()
    async with database.transaction():
        await lease.guard("s", second.epoch)
    with pytest.raises(NotLeader):
        async with database.transaction():
            await lease.guard("s", old)
    await second.give_up()
