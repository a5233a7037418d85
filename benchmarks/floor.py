"""The floor of F7: how long a change of one weight takes from a bare ADS push to the first request routed by it.

Real Envoy with the whole filter chain, 1,000 endpoints, two stub engines; no database, no control API, no file.
"""

import asyncio
import signal
import socket
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.probe import Probe
from fleetform import settings as fleetform_settings
from fleetform.credentials import Claims, SigningKey
from fleetform.domain.replica import Unix
from fleetform.gateway.ads import AdsServer
from fleetform.gateway.bootstrap import envoy_argv, write_bootstrap
from fleetform.gateway.delta import Resource, resource
from fleetform.gateway.filters import JWT_FILTER, REVOKED_FILTER, TYPE_FILTER, jwt_filter, revoked_filter
from fleetform.gateway.resources import TYPE_ASSIGNMENT, TYPE_CLUSTER, assignment, cluster
from fleetform.gateway.snapshot import Access, EndpointRoute, Target, TrackRoute, TrustedRegion
from fleetform.settings import Settings
from tests.gateway.engines import StubProcess
from tests.gateway.processes import child, end
from tests.harness.ports import free_ports
from tests.harness.waiting import until

NAME = "measured"


def measure(endpoints: int, changes: int) -> list[float]:
    """Seconds from push to routed for each of so many changes, with so many endpoints declared."""
    with tempfile.TemporaryDirectory(prefix="ff-floor-") as folder:
        root = Path(folder)
        (port,) = free_ports(1)
        environ = {"FLEETFORM_HOME": str(root / "home"), "XDG_RUNTIME_DIR": folder, "FLEETFORM_GATEWAY_PORT": str(port)}
        settings = fleetform_settings.load(environ)
        settings.run.mkdir(mode=0o700, parents=True)
        write_bootstrap(settings)
        stubs = [StubProcess(root / f"{name}.sock", name, NAME, root / "log") for name in ("one", "two")]
        envoy = child(envoy_argv(settings, concurrency=1), root / "log")
        try:
            return asyncio.run(_push(settings, [stub.path for stub in stubs], endpoints, changes))
        finally:
            for process in (envoy, *(stub.process for stub in stubs)):
                end(process, signal.SIGKILL)


async def _push(settings: Settings, engines: list[Path], endpoints: int, changes: int) -> list[float]:
    key = SigningKey(ec.generate_private_key(ec.SECP256R1()))
    changed = asyncio.Event()
    ads = AdsServer(settings.ads_socket, changed.set)
    await ads.start()
    sequence = ads.publish(_everything(settings, engines, endpoints, key), [])
    async with asyncio.timeout(30):
        while ads.acknowledged() < sequence:
            changed.clear()
            await changed.wait()
    await asyncio.to_thread(until, "Envoy listens", lambda: _listens(settings))
    spent = []
    async with Probe(settings.gateway_port, _mint(key, settings.region), NAME) as probe:
        engine = await probe.engine()
        for number in range(changes):
            route = _route(NAME, engines, first=number % 2 * 100)
            start = time.perf_counter()
            ads.publish([resource(TYPE_ASSIGNMENT, route.key, assignment(route, str(settings.activator_socket)))], [])
            engine, routed = await probe.other_than(engine)
            spent.append(routed - start)
    await ads.stop()
    return spent


def _everything(settings: Settings, engines: list[Path], endpoints: int, key: SigningKey) -> list[Resource]:
    access = Access(home=TrustedRegion(region=settings.region, jwks=key.jwks()))
    found = [
        resource(TYPE_FILTER, JWT_FILTER, jwt_filter(access)),
        resource(TYPE_FILTER, REVOKED_FILTER, revoked_filter(access)),
    ]
    for name in (NAME, *(f"other-{number}" for number in range(endpoints - 1))):
        route = _route(name, engines, first=100)
        found.append(resource(TYPE_CLUSTER, route.key, cluster(route)))
        found.append(resource(TYPE_ASSIGNMENT, route.key, assignment(route, str(settings.activator_socket))))
    return found


def _route(name: str, engines: list[Path], first: int) -> EndpointRoute:
    tracks = tuple(
        TrackRoute(
            track=f"v{index}",
            version=f"v{index}",
            weight=weight,
            targets=(Target(replica_id=engine.stem, address=Unix(path=str(engine))),),
        )
        for index, (engine, weight) in enumerate(zip(engines, (first, 100 - first), strict=True))
    )
    return EndpointRoute(project="bench", endpoint=name, generation=1, created=1, tracks=tracks)


def _mint(key: SigningKey, region: str) -> str:
    now = int(time.time())
    claims = Claims(
        iss=region,
        sub="token:bench:bench",
        jti="0" * 16,
        project="bench",
        roles=("inference.invoker",),
        endpoints=("*",),
        iat=now,
        exp=now + 3600,
    )
    return key.mint(claims)


def _listens(settings: Settings) -> bool:
    with socket.create_connection(("127.0.0.1", settings.gateway_port), timeout=1):
        return True
