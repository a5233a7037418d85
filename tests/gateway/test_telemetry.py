"""The windows of a real Envoy's requests: by track, as they ended, over rotation and restarts, and with nothing of what was said."""

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from fleetform.domain.load import TrackWindow
from fleetform.gateway import rotation
from fleetform.gateway.telemetry import Telemetry
from tests.gateway.engines import EchoEngine
from tests.gateway.stack import Gateway, a_route, a_track
from tests.gateway.test_traffic import EVENTS, ask
from tests.harness.waiting import until

pytestmark = pytest.mark.envoy


class Breaking(EchoEngine):
    """Breaks off half-way through every answer, or after a while before it begins."""

    def __init__(self, *args: Any, begins: bool) -> None:
        super().__init__(*args)
        self.begins = begins

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if self.begins:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            writer.write(head + b"d\r\ndata: {}\n\nxxx\r\n")
            await writer.drain()
        await asyncio.sleep(0.2 if self.begins else 1.0)
        raise ConnectionError


@contextlib.contextmanager
def watched(gateway: Gateway) -> Iterator[Telemetry]:
    """Telemetry beside the gateway's feed."""

    async def begin() -> Telemetry:
        telemetry = Telemetry(gateway.settings, lambda: gateway.feed.routes)
        telemetry.start()
        return telemetry

    telemetry = gateway.run(begin())
    try:
        yield telemetry
    finally:
        gateway.run(telemetry.stop())


def track(telemetry: Telemetry, model: str, version: str, requests: int) -> TrackWindow:
    """The window of that track once it has so many requests."""
    since = datetime.now(UTC) - timedelta(minutes=5)

    def found() -> TrackWindow | None:
        windows = telemetry.windows(f"p1/{model}", since)
        return next((w for w in windows.tracks if w.track == f"{version}.aaaaaaaa" and w.requests >= requests), None)

    return until(f"{requests} requests of {version}", found, timeout_s=30)


@pytest.fixture(scope="module")
def engine(gateway: Gateway) -> Iterator[EchoEngine]:
    engine = gateway.echo("measured")
    yield engine
    gateway.run(engine.stop())


def quietly(gateway: Gateway, model: str, **body: Any) -> None:
    """A request whose outcome is not of interest to the one who asks."""
    with contextlib.suppress(openai.OpenAIError):
        gateway.client().chat.completions.with_raw_response.create(model=model, messages=[], extra_body=body)


def test_how_requests_ended_by_track(gateway: Gateway, engine: EchoEngine) -> None:
    breaking = Breaking(gateway.root / "breaking.sock", "breaking", begins=True)
    gateway.run(breaking.start())
    gateway.publish(
        a_route("ended", a_track("v1", 100, engine.path)),
        a_route("broken", a_track("v2", 100, breaking.path)),
        a_route("private", a_track("v3", 100, engine.path), log_content="off"),
        a_route("cold", phase="Stalled"),
    )
    with watched(gateway) as telemetry:
        for model in ("ended", "private"):
            quietly(gateway, model, events=EVENTS, event_delay_s=0.05)
            quietly(gateway, model)
            for status in (500, 503, 400):
                quietly(gateway, model, answer_status=status)
        left = {"events": EVENTS, "event_delay_s": 5}
        with gateway.client().chat.completions.with_streaming_response.create(model="ended", messages=[], extra_body=left) as answer:
            next(answer.iter_bytes())
        quietly(gateway, "broken")
        quietly(gateway, "cold")
        ended, private, broken = (
            track(telemetry, "ended", "v1", 6),
            track(telemetry, "private", "v3", 5),
            track(telemetry, "broken", "v2", 1),
        )
        assert (ended.requests, ended.errors, ended.aborts, ended.refusals) == (6, 2, 1, 1)
        assert (ended.ttft.total, ended.latency.total) == (3, 2)
        assert (private.requests, private.errors, private.aborts, private.latency.total) == (5, 2, 0, 2)
        assert (broken.requests, broken.errors, broken.aborts, broken.latency.total) == (1, 0, 1, 0)
        longest, first = ended.latency.quantile_ms(1.0), ended.ttft.quantile_ms(1.0)
        assert longest is not None
        assert first is not None
        assert first < longest
        assert longest >= 1000
        assert telemetry.windows("p1/cold", datetime.now(UTC) - timedelta(minutes=5)).tracks == ()
    gateway.run(breaking.stop())


def test_the_time_that_another_replica_lost_is_not_the_tracks(own_gateway: Gateway) -> None:
    """v1 breaks off after a second, again and again until v2 gets the request; v2's own time is short."""
    breaking = Breaking(own_gateway.root / "slow.sock", "slow", begins=False)
    own_gateway.run(breaking.start())
    engine = own_gateway.echo("quick")
    own_gateway.publish(a_route("m", a_track("v1", 50, breaking.path), a_track("v2", 50, engine.path)))
    with watched(own_gateway) as telemetry:
        assert ask(own_gateway, "m", 20) == {"quick": 20}
        window = track(telemetry, "m", "v2", 20)
        slowest = window.latency.quantile_ms(1.0)
        assert slowest is not None
        assert slowest < 1000
        assert max(line["latency_ms"] for line in own_gateway.log_lines()) >= 1000
    for each in (breaking, engine):
        own_gateway.run(each.stop())


def test_nothing_is_lost_over_rotations_and_restarts_and_nothing_said_is_in_it(own_gateway: Gateway) -> None:
    canary = "canary-5e1d0b"
    engine = own_gateway.echo("kept")
    own_gateway.publish(a_route("m", a_track("v1", 100, engine.path)))
    key = own_gateway.mint()

    def say(times: int) -> None:
        client = own_gateway.client(key)
        for _ in range(times):
            said: list[ChatCompletionMessageParam] = [{"role": "user", "content": canary}]
            assert client.chat.completions.create(model="m", messages=said, user=canary, extra_query={"q": canary}).choices

    with watched(own_gateway) as telemetry:
        for _ in range(3):
            say(10)
            until("logged", lambda: len(own_gateway.log_lines()) == 10)
            assert own_gateway.run(
                rotation.rotate(own_gateway.settings.access_log, own_gateway.settings.envoy_admin_socket, limit_bytes=100)
            )
            until("a new log", own_gateway.settings.access_log.exists)
        say(5)
        assert track(telemetry, "m", "v1", 35).requests == 35
        before = telemetry.windows("p1/m", datetime.now(UTC) - timedelta(minutes=5))
    with watched(own_gateway) as again:
        assert track(again, "m", "v1", 35) == before.tracks[0]
        say(1)
        assert track(again, "m", "v1", 36).requests == 36
        load = again.sampler.load()
        told = msgspec.json.encode([load, again.windows("p1/m", datetime.now(UTC) - timedelta(minutes=5))])
        kept = b"".join(path.read_bytes() for path in (own_gateway.settings.home / "gateway").glob("served*"))
        for secret in (canary, key, key.removeprefix("cd-"), "token:p1:app"):
            assert secret.encode() not in told + kept
    own_gateway.run(engine.stop())
