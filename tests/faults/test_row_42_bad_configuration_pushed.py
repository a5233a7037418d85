"""Row 42: what Envoy refuses stays without effect, the old form stays in force, all else gets through, the endpoint is Degraded at once."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from fleetform.domain.conditions import ConditionType, Reason, condition
from fleetform.domain.protocol import HostReport
from fleetform.domain.replica import Loopback
from fleetform.gateway.snapshot import Access, SnapshotUpdate, TrustedRegion
from fleetform.store import endpoints
from tests.gateway.engines import EchoEngine
from tests.gateway.stack import REGION, Gateway, a_route, a_track
from tests.gateway.test_traffic import ask
from tests.reconciler.region import a_region


@pytest.fixture
def engine(own_gateway: Gateway) -> Iterator[EchoEngine]:
    engine = own_gateway.echo("engine")
    own_gateway.publish(a_route("m", a_track("v1", 100, engine.path)))
    yield engine
    own_gateway.run(engine.stop())


@pytest.mark.envoy
def test_row_42_a_refused_route_keeps_its_old_form_and_harms_no_other(own_gateway: Gateway, engine: EchoEngine) -> None:
    """Envoy refuses a whole response for one bad resource: it is isolated, and its words are kept under its key."""
    bad = a_route("m", a_track("v1", 100, Loopback(port=70_000)))
    others = [a_route(f"other{number}", a_track("v1", 100, engine.path)) for number in range(7)]
    own_gateway.publish(*others[:3], bad, *others[3:])
    report = own_gateway.feed.report()
    assert list(report.rejected) == ["p1/m"]
    assert "70000" in report.rejected["p1/m"] or "port" in report.rejected["p1/m"].lower()
    for route in others:
        assert ask(own_gateway, route.endpoint, 2) == {"engine": 2}
    assert ask(own_gateway, "m", 5) == {"engine": 5}
    own_gateway.publish(a_route("m", a_track("v2", 100, engine.path)))
    assert own_gateway.feed.report().rejected == {}
    assert ask(own_gateway, "m", 5) == {"engine": 5}


@pytest.mark.envoy
def test_row_42_a_refused_key_set_leaves_the_old_one_in_force(own_gateway: Gateway, engine: EchoEngine) -> None:
    broken = Access(home=TrustedRegion(region=REGION, jwks="{broken"))
    own_gateway.version += 1
    update = SnapshotUpdate(epoch=1, version=own_gateway.version, base=own_gateway.version - 1, access=broken)
    own_gateway.run(own_gateway.feed.publish(update))
    report = own_gateway.until_acked(own_gateway.version)
    assert list(report.rejected) == ["ff.jwt"]
    assert ask(own_gateway, "m", 5) == {"engine": 5}


@pytest.mark.anyio
@pytest.mark.postgres
async def test_row_42_the_endpoint_is_degraded_within_five_seconds_and_whole_again_afterwards(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_region(tmp_path, store) as region:
        refused: dict[str, str] = {}
        observe = region.driver.observe

        async def observed(host: str, since: int, wait_s: float) -> HostReport:
            report = await observe(host, since, wait_s)
            return report if report.gateway is None else replace(report, gateway=replace(report.gateway, rejected=dict(refused)))

        monkeypatch.setattr(region.driver, "observe", observed)
        region.start()
        await region.register("v1")
        await region.apply()
        await region.apply("other")
        for name in ("chat", "other"):
            assert (await region.settled(name)).status.ready

        async def degraded(name: str = "chat") -> bool:
            held = condition((await endpoints.get("acme", name)).status.conditions, ConditionType.DEGRADED)
            return held is not None and held.reason is Reason.CONFIG_REJECTED and "no such field" in held.message

        async def whole() -> bool:
            return not await degraded()

        refused["acme/chat"] = "no such field: port_valu"
        begun = time.monotonic()
        await region.apply(request_timeout_s=99)
        await region.until("the endpoint is Degraded", degraded)
        assert time.monotonic() - begun < 5
        assert not await degraded("other")
        refused.clear()
        await region.apply(request_timeout_s=98)
        await region.until("it is whole again", whole)
