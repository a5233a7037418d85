"""What gateways are told: who may come in, what differs, and everything anew when one of them has lost its place."""

from pathlib import Path

import anyio
import msgspec
import pytest

from fleetform.domain.access import Role
from fleetform.domain.project import CredentialRequest, TokenSpec
from fleetform.drivers.fake import FakeDriver
from fleetform.drivers.pretended import Script
from fleetform.errors import NotLeader
from fleetform.gateway.snapshot import Access, EndpointRoute, PublishResult, RoutingSnapshot, SnapshotUpdate, TrackRoute, TrustedRegion
from fleetform.reconciler.publisher import Publisher
from fleetform.store import credentials, tokens
from fleetform.store.writing import ANY
from tests.builders import a_host
from tests.reconciler.region import a_region

pytestmark = pytest.mark.anyio
HOST = "host-1"


def a_route(name: str = "chat", generation: int = 1) -> EndpointRoute:
    return EndpointRoute(project="acme", endpoint=name, generation=generation, created=0)


class Desk:
    """A publisher with one pretended gateway, served in the background."""

    def __init__(self, driver: FakeDriver, epoch: int = 1) -> None:
        self.driver = driver
        self.publisher = Publisher(driver, epoch)

    async def hear(self) -> set[str]:
        report = (await self.driver.observe(HOST, 0, 0.0)).gateway
        assert report is not None
        return self.publisher.heard(HOST, report)

    async def begin(self) -> None:
        self.publisher.add_gateway(HOST)
        await self.hear()

    async def serve(self, until_routes: set[str]) -> None:
        """Serve until the gateway has exactly these routes."""
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(self.publisher.serve, HOST)
                while self.driver.snapshot().routes.keys() != until_routes:
                    await anyio.sleep(0.005)
                group.cancel_scope.cancel()


async def test_a_route_is_acknowledged_once_every_proxy_has_it() -> None:
    desk = Desk(FakeDriver(hosts=(a_host(HOST),), steps=False))
    desk.driver.script = Script(deaf=True)
    await desk.begin()
    unknown = desk.publisher.published("acme/chat", "acme", "chat")
    assert unknown is not None
    assert unknown.acked is False
    desk.publisher.put(a_route())
    await desk.serve({"acme/chat"})
    await desk.hear()
    told = desk.publisher.published("acme/chat", "acme", "chat")
    assert told is not None
    assert (told.route, told.acked) == (a_route(), False)

    desk.driver.script = Script()
    desk.driver.tick()
    assert await desk.hear() == {"acme/chat"}
    told = desk.publisher.published("acme/chat", "acme", "chat")
    assert told is not None
    assert told.acked


async def test_a_gateway_that_is_lost_holds_nobody_up() -> None:
    desk = Desk(FakeDriver(hosts=(a_host(HOST), a_host("host-2")), gateways=2))
    await desk.begin()
    desk.publisher.add_gateway("host-2")
    desk.publisher.put(a_route())
    await desk.serve({"acme/chat"})
    await desk.hear()

    def is_acked() -> bool:
        told = desk.publisher.published("acme/chat", "acme", "chat")
        return told is not None and told.acked

    assert not is_acked()
    assert desk.publisher.leave_out({"host-2", "host-3"}) == {"acme/chat"}
    assert is_acked()
    assert desk.publisher.leave_out({"host-2"}) == set()
    desk.publisher.leave_out({HOST, "host-2"})
    assert not is_acked(), "nothing is known of any gateway"
    desk.publisher.leave_out(())
    assert not is_acked(), "it is back, and has still to be told"
    await desk.publisher.tell("host-2")
    report = (await desk.driver.observe("host-2", 0, 0.0)).gateway
    assert report is not None
    desk.publisher.heard("host-2", report)
    assert is_acked()


async def test_a_gateway_that_is_back_counts_from_its_first_word_with_all_that_it_has_missed() -> None:
    driver = FakeDriver(hosts=(a_host(HOST), a_host("host-2")), gateways=2)
    desk = Desk(driver)
    publisher = desk.publisher
    await desk.begin()
    publisher.add_gateway("host-2")
    publisher.put(a_route())
    publisher.put(a_route("gone"))
    await publisher.tell(HOST)
    publisher.leave_out({HOST})
    publisher.put(a_route(generation=2))
    publisher.remove("acme/gone")
    await publisher.tell("host-2")
    other = (await driver.observe("host-2", 0, 0.0)).gateway
    assert other is not None
    publisher.heard("host-2", other)
    assert publisher.published("acme/gone", "acme", "gone") is None
    publisher.forget("acme/gone")

    # It stands elsewhere than expected, so that it is told everything anew.
    driver.replace_snapshot(msgspec.structs.replace(driver.snapshot(), version=7))
    assert await desk.hear() == {"acme/chat", "acme/gone"}
    told = publisher.published("acme/chat", "acme", "chat")
    assert told is not None
    assert not told.acked
    await publisher.tell(HOST)
    assert driver.snapshot().routes == {"acme/chat": a_route(generation=2)}


async def test_a_removed_route_is_gone_once_every_proxy_says_so() -> None:
    desk = Desk(FakeDriver(hosts=(a_host(HOST),)))
    await desk.begin()
    desk.publisher.put(a_route())
    await desk.serve({"acme/chat"})
    desk.publisher.remove("acme/chat")
    await desk.serve(set())
    await desk.hear()
    assert desk.publisher.published("acme/chat", "acme", "chat") is None


async def test_a_gateway_that_has_lost_its_snapshot_is_told_everything() -> None:
    desk = Desk(FakeDriver(hosts=(a_host(HOST),)))
    await desk.begin()
    desk.publisher.put(a_route("one"))
    await desk.serve({"acme/one"})
    desk.driver.replace_snapshot(RoutingSnapshot())
    desk.publisher.put(a_route("two"))
    await desk.serve({"acme/one", "acme/two"})


async def test_what_a_new_leader_does_not_know_stays_at_the_gateway() -> None:
    driver = FakeDriver(hosts=(a_host(HOST),))
    first = Desk(driver, epoch=1)
    await first.begin()
    first.publisher.put(a_route("one"))
    await first.serve({"acme/one"})
    second = Desk(driver, epoch=2)
    await second.begin()
    second.publisher.put(a_route("two"))
    await second.serve({"acme/one", "acme/two"})
    first.publisher.put(a_route("three"))
    with pytest.raises(NotLeader):
        await first.publisher.serve(HOST)


async def test_a_route_that_contradicts_itself_is_kept_back_and_said() -> None:
    desk = Desk(FakeDriver(hosts=(a_host(HOST),)))
    await desk.begin()
    bad = EndpointRoute(project="acme", endpoint="bad", generation=1, created=0, tracks=(TrackRoute(track="t", version="v", weight=7),))
    desk.publisher.put(bad)
    desk.publisher.put(a_route("good"))
    await desk.serve({"acme/good"})
    told = desk.publisher.published("acme/bad", "acme", "bad")
    assert told is not None
    assert "weights sum to 7" in told.rejected


async def test_who_may_come_in_is_sent_only_when_it_changes() -> None:
    desk = Desk(FakeDriver(hosts=(a_host(HOST),)))
    await desk.begin()
    access = Access(home=TrustedRegion(region="local", jwks="{}"))
    desk.publisher.allow(access)
    desk.publisher.put(a_route())
    await desk.serve({"acme/chat"})
    assert desk.driver.snapshot().access == access
    version = desk.driver.snapshot().version
    desk.publisher.allow(Access(home=TrustedRegion(region="local", jwks="{}")))
    desk.publisher.put(a_route())
    desk.publisher.put(a_route("two"))
    await desk.serve({"acme/chat", "acme/two"})
    assert desk.driver.snapshot().version == version + 1


async def test_versions_of_a_later_leader_are_higher() -> None:
    updates: list[SnapshotUpdate] = []

    class Recording(FakeDriver):
        async def publish(self, host: str, update: SnapshotUpdate) -> PublishResult:
            updates.append(update)
            return await super().publish(host, update)

    driver = Recording(hosts=(a_host(HOST),))
    for epoch in (1, 2):
        desk = Desk(driver, epoch)
        await desk.begin()
        desk.publisher.put(a_route(f"e{epoch}"))
        await desk.serve({f"acme/e{number}" for number in range(1, epoch + 1)})
    assert updates[0].version < updates[-1].version


@pytest.mark.postgres
async def test_a_revoked_credential_reaches_the_gateway_and_leaves_when_it_would_have_expired(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        region.start()
        await tokens.put("acme", "app", TokenSpec(roles=[Role.INVOKER]), None, ANY, region.now)
        minted = await credentials.mint("acme", "app", CredentialRequest(ttl_s=3600), None, region.key, "local", region.now)
        await credentials.revoke("acme", "app", minted.id, region.now)

        async def known() -> bool:
            access = region.driver.snapshot().access
            return access is not None and minted.id in access.revoked

        await region.until("the gateway knows", known)
        region.pass_time(3601)
        other = await credentials.mint("acme", "app", CredentialRequest(ttl_s=3600), None, region.key, "local", region.now)
        await credentials.revoke("acme", "app", other.id, region.now)

        async def pruned() -> bool:
            access = region.driver.snapshot().access
            return access is not None and access.revoked.keys() == {other.id}

        await region.until("the first is forgotten", pruned)


async def test_a_report_that_overtakes_the_answer_to_a_publish_is_not_lost() -> None:
    said: list[str] = []
    driver = FakeDriver(hosts=(a_host(HOST),), steps=False)
    desk = Desk(driver)
    desk.publisher = Publisher(driver, 1, said.extend)
    await desk.begin()
    desk.publisher.put(a_route())
    answered = driver.publish

    async def slowly(host: str, update: SnapshotUpdate) -> PublishResult:
        result = await answered(host, update)
        assert await desk.hear() == set(), "it is not known yet that this version carried the route"
        return result

    driver.publish = slowly  # type: ignore[method-assign]  # this test's driver alone
    await desk.publisher.tell(HOST)
    assert said == ["acme/chat"]
    assert await desk.hear() == set()


async def test_a_gateway_that_went_back_is_told_everything_though_nothing_changes() -> None:
    desk = Desk(FakeDriver(hosts=(a_host(HOST),), steps=False))
    await desk.begin()
    desk.publisher.put(a_route())
    desk.publisher.put(a_route("code"))
    await desk.publisher.tell(HOST)
    await desk.hear()
    before = desk.driver.snapshot()
    desk.driver.replace_snapshot(RoutingSnapshot())
    await desk.hear()
    await desk.publisher.tell(HOST)
    assert desk.driver.snapshot().routes == before.routes
    assert await desk.hear() == {"acme/chat", "acme/code"}


async def test_a_report_from_before_a_publish_does_not_count_as_going_back() -> None:
    desk = Desk(FakeDriver(hosts=(a_host(HOST),), steps=False))
    await desk.begin()
    old = (await desk.driver.observe(HOST, 0, 0.0)).gateway
    assert old is not None
    desk.publisher.put(a_route())
    await desk.publisher.tell(HOST)
    desk.publisher.heard(HOST, old)
    version = desk.driver.snapshot().version
    await desk.publisher.tell(HOST)
    assert desk.driver.snapshot().version == version
