"""A gateway to try: the feed, a real Envoy, the activator, and engines, in a home of its own."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import replace
from openai import OpenAI

from fleetform import settings as fleetform_settings
from fleetform.credentials import Claims, SigningKey
from fleetform.domain.protocol import GatewayReport
from fleetform.domain.replica import Address, Unix
from fleetform.gateway.bootstrap import bootstrap, envoy_argv, write_bootstrap
from fleetform.gateway.feed import GatewayFeed
from fleetform.gateway.snapshot import Access, Applied, EndpointRoute, SnapshotUpdate, Target, TrackRoute, TrustedRegion
from tests.gateway.engines import EchoEngine, StubProcess
from tests.gateway.processes import child, end
from tests.harness.farewells import an_engine
from tests.harness.ports import free_ports
from tests.harness.waiting import until

T = TypeVar("T")
REGION, PEER = "dha", "ctg"
PEER_HOST = "https://inf.ctg.example.com/v1"


class Gateway:
    """In a `with`: publish, ask. Everything it makes is gone afterwards."""

    def __init__(self, max_body_mib: int = 16, **variables: str) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="ff-gw-"))
        self.key = SigningKey(ec.generate_private_key(ec.SECP256R1()))
        self.peer_key = SigningKey(ec.generate_private_key(ec.SECP256R1()))
        (port,) = free_ports(1)
        peers = [{"region": PEER, "host": PEER_HOST, "jwks": json.loads(self.peer_key.jwks())}]
        self.environ = {
            "FLEETFORM_HOME": str(self.root / "home"),
            "XDG_RUNTIME_DIR": str(self.root),
            "FLEETFORM_GATEWAY_PORT": str(port),
            "FLEETFORM_REGION": REGION,
            "FLEETFORM_PEER_REGIONS": json.dumps(peers),
            "FLEETFORM_MAX_BODY_MIB": str(max_body_mib),
            **variables,
        }
        self.settings = fleetform_settings.load(self.environ)
        self.settings.run.mkdir(mode=0o700, parents=True)
        self.log = self.root / "log"
        self.version = 0
        self.revoked: dict[str, int] = {}
        self.stubs: list[StubProcess] = []
        self.served: list[subprocess.Popen[bytes]] = []
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._thread.start()
        write_bootstrap(self.settings)
        self.start_feed()
        self.start_activator()
        self.start_envoy()
        self.publish(full=True)
        until("Envoy answers", lambda: b"200 OK" in self.raw(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))

    def stop(self) -> None:
        for process in (self.envoy, self.activator, *(stub.process for stub in self.stubs), *self.served):
            end(process, signal.SIGKILL)
        self.stop_feed()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        shutil.rmtree(self.root, ignore_errors=True)

    def start_envoy(self) -> None:
        self.envoy = child(envoy_argv(self.settings, concurrency=1), self.log)

    def another_envoy(self) -> "subprocess.Popen[bytes]":
        """A second Envoy on the same feed, with a listener of its own."""
        config = bootstrap(replace(self.settings, gateway_port=free_ports(1)[0]))
        config["admin"]["address"]["pipe"]["path"] = str(self.root / "second.sock")
        file = self.root / "second.json"
        file.write_text(json.dumps(config))
        first = str(write_bootstrap(self.settings))
        return child([str(file) if word == first else word for word in envoy_argv(self.settings, concurrency=1)], self.log)

    def start_activator(self) -> None:
        program = "from fleetform.gateway.activator import main; main()"
        self.activator = child([sys.executable, "-c", program], self.log, self.environ)
        until("the activator listens", self.settings.activator_socket.is_socket)

    def start_feed(self) -> None:
        async def make() -> GatewayFeed:
            feed = GatewayFeed(self.settings, self._notify)
            await feed.start()
            return feed

        self.feed = self.run(make())

    def feed_heard(self) -> None:
        """As if a server had asked what is new."""

        async def hear() -> None:
            self.feed.waiting.heard_server()

        self.run(hear())

    def stop_feed(self) -> None:
        self.run(self.feed.stop())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """work on the gateway's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    def publish(self, *routes: EndpointRoute, remove: tuple[str, ...] = (), full: bool = False, wait: bool = True) -> int:
        """Publish routes and the revoked ids, and wait until Envoy has acknowledged them; the version."""
        base, self.version = self.version, self.version + 1
        home = TrustedRegion(region=REGION, jwks=self.key.jwks())
        peer = TrustedRegion(region=PEER, jwks=self.peer_key.jwks(), host=PEER_HOST)
        access = Access(home=home, peers=(peer,), revoked=dict(self.revoked))
        update = SnapshotUpdate(epoch=1, version=self.version, base=base, full=full, upsert=routes, remove=remove, access=access)
        result = self.run(self.feed.publish(update))
        assert result == Applied(epoch=1, version=self.version)
        if wait:
            self.until_acked(self.version)
        return self.version

    def until_acked(self, version: int) -> GatewayReport:
        """The first report that acknowledges version."""
        return self.until_report(f"version {version} acknowledged", lambda report: report.acked_version >= version)

    def until_report(self, what: str, holds: Any, timeout_s: float = 20) -> GatewayReport:
        """The first report for which holds is true."""
        with self._changed:
            held = self._changed.wait_for(lambda: holds(self.feed.report()), timeout_s)
        assert held, f"not within {timeout_s} s: {what}; {self.feed.report()}\n{self.log.read_text()[-3000:]}"
        return self.feed.report()

    def echo(self, name: str) -> EchoEngine:
        """An engine inside this process, listening."""
        engine = EchoEngine(self.root / f"{name}.sock", name)
        self.run(engine.start())
        return engine

    def stub(self, name: str, model: str) -> StubProcess:
        """An engine as a process of its own, listening."""
        stub = StubProcess(self.root / f"{name}.sock", name, model, self.log)
        self.stubs.append(stub)
        return stub

    def serve(self, name: str, model: str, **options: str) -> Path:
        """Start an engine behind our middleware, of which `served` has the process; where it listens. options: as the engine has them."""
        self.served.append(an_engine(self.root / f"{name}.sock", name, model, self.log, **options))
        return self.root / f"{name}.sock"

    def mint(self, key: SigningKey | None = None, lives_s: int = 3600, **claims: Any) -> str:
        """An API key for project p1; claims replace the usual ones."""
        now = int(time.time())
        usual: dict[str, Any] = {
            "iss": REGION,
            "sub": "token:p1:app",
            "jti": "0123456789abcdef",
            "project": "p1",
            "roles": ("inference.invoker",),
            "endpoints": ("*",),
            "iat": now,
            "exp": now + lives_s,
        }
        return (key or self.key).mint(Claims(**(usual | claims)))

    def client(self, api_key: str | None = None, **options: Any) -> OpenAI:
        """The OpenAI SDK against this gateway, without retries unless asked for."""
        return OpenAI(
            base_url=f"http://127.0.0.1:{self.settings.gateway_port}/v1", api_key=api_key or self.mint(), **({"max_retries": 0} | options)
        )

    def raw(self, request: bytes, timeout_s: float = 15) -> bytes:
        """What comes back for these bytes until Envoy closes the connection, orderly or not."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self.settings.gateway_port), timeout=timeout_s) as connection:
            connection.sendall(request)
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(65536):
                    answer += piece
        return answer

    def log_lines(self) -> list[dict[str, Any]]:
        """The access log so far."""
        path = self.settings.access_log
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def logged(self, request_id: str) -> dict[str, Any]:
        """The access log's line of one request."""
        return until(f"{request_id} logged", lambda: next((line for line in self.log_lines() if line["request_id"] == request_id), None))

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()


def a_route(endpoint: str, *tracks: TrackRoute, project: str = "p1", **fields: Any) -> EndpointRoute:
    """An endpoint of project p1."""
    return EndpointRoute(project=project, endpoint=endpoint, generation=1, created=1_700_000_000, tracks=tracks, **fields)


def a_track(version: str, weight: int, *engines: Path | Address, draining: bool = False) -> TrackRoute:
    """A track with one target per engine; replica ids are the socket's name."""
    targets = []
    for engine in engines:
        address: Address = Unix(path=str(engine)) if isinstance(engine, os.PathLike) else engine
        name = Path(engine).stem if isinstance(engine, os.PathLike) else str(engine)
        targets.append(Target(replica_id=name, address=address, draining=draining))
    return TrackRoute(track=f"{version}.aaaaaaaa", version=version, weight=weight, targets=tuple(targets))
