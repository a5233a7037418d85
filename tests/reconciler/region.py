"""A region on pretended machines: the real database and the real loop, a clock that tests move by hand."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from fleetform import credentials
from fleetform import settings as fleetform_settings
from fleetform.domain.access import Caller, Role
from fleetform.domain.decode import decode
from fleetform.domain.endpoint import Endpoint
from fleetform.domain.endpoint_spec import EndpointSpec
from fleetform.domain.load import EndpointLoad, GatewayLoad, HostLoad
from fleetform.domain.machine import HostCapacity, InstanceTypeSpec
from fleetform.domain.model import ModelVersion, ModelVersionSpec
from fleetform.domain.names import ALL_PROJECTS
from fleetform.domain.project import ProjectSpec, QuotaSpec
from fleetform.drivers.fake import FakeDriver
from fleetform.errors import NotFound
from fleetform.reconciler import Reconciler
from fleetform.store import database, endpoints, machines, models, projects, quotas
from fleetform.store.writing import ANY
from tests.builders import NOON, a_host

T = TypeVar("T")
ADMIN = Caller(principal="user:root", jti="", roles={ALL_PROJECTS: frozenset(Role)})
DEADLINE_S = 20.0


class Region:
    """One project `acme` with a quota, on hosts that obey. now: moved by `pass_time`."""

    def __init__(self, home: Path, url: str, hosts: tuple[HostCapacity, ...] = (a_host(gpus=4),), gateways: int = 1) -> None:
        self.now = NOON
        self.driver = FakeDriver(hosts=hosts, gateways=gateways)
        self.settings = fleetform_settings.load({"FLEETFORM_HOME": str(home), "FLEETFORM_DATABASE_URL": url})
        self.key = credentials.load_or_create(self.settings.signing_key)
        self.reconciler = self.a_reconciler()
        self._ids = itertools.count(1)
        self._running: dict[Reconciler, asyncio.Task[None]] = {}

    def a_reconciler(self, host_grace_s: float = 0.2) -> Reconciler:
        return Reconciler(
            settings=self.settings, driver=self.driver, key=self.key, now=lambda: self.now, new_id=self._new_id, host_grace_s=host_grace_s
        )

    def _new_id(self) -> str:
        return f"{next(self._ids):032x}"

    async def declare(self, max_replicas: int = 20) -> None:
        """The project, its instance types and its quotas."""
        await projects.put("acme", decode(ProjectSpec, {"artifact_prefixes": ["file:///models/"]}), ANY, self.now)
        shapes = {
            "cpu-small": {"cpu_millis": 500, "memory_mib": 1024},
            "gpu-a10-1x": {"cpu_millis": 500, "memory_mib": 1024, "accelerator": "a10", "accelerator_count": 1},
        }
        for name, shape in shapes.items():
            await machines.put_instance_type(name, decode(InstanceTypeSpec, shape), ANY, self.now)
            await quotas.put("acme", name, QuotaSpec(max_replicas=max_replicas), ADMIN, ANY, self.now)

    async def register(self, version: str) -> ModelVersion:
        spec = ModelVersionSpec(artifact=f"file:///models/{version}", framework="pytorch", runtime="cpu")
        return (await models.put("acme", "m", version, spec, ADMIN, ANY, self.now)).resource

    async def apply(self, name: str = "chat", weights: dict[str, int] | None = None, **fields: Any) -> Endpoint:
        """PUT an endpoint. weights: version → percent; fields: of the spec, `replicas` for scaling.min_replicas."""
        scaling = {"min_replicas": fields.pop("replicas", 1)}
        rollout = {"steps": [100], "step_hold_s": 0, **dict(fields.pop("rollout", {}))}
        variants = {v: {"model_version": f"m:{v}", "weight": weight} for v, weight in (weights or {"v1": 100}).items()}
        body = {"instance_type": "cpu-small", "variants": variants, "scaling": scaling, "rollout": rollout, **fields}
        return (await endpoints.put("acme", name, decode(EndpointSpec, body), ANY, self.now)).resource

    def start(self, reconciler: Reconciler | None = None) -> Reconciler:
        """Run a reconciler; the region's own unless another is given."""
        started = reconciler or self.reconciler
        self._running[started] = asyncio.create_task(started.run())
        return started

    async def kill(self, reconciler: Reconciler | None = None) -> None:
        """End a reconciler as a killed process ends: at whatever line it is. Its session lock goes with its connections."""
        task = self._running.pop(reconciler or self.reconciler)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def close(self) -> None:
        for reconciler in list(self._running):
            await self.kill(reconciler)

    def pass_time(self, seconds: float) -> None:
        """Move the clock; what is due then happens."""
        self.now += timedelta(seconds=seconds)
        for reconciler in self._running:
            if reconciler.term is not None:
                reconciler.term.queue.look()

    async def measure(self, stable: float, after_s: float = 2, name: str = "chat", **fields: Any) -> None:
        """Some seconds later the gateway says that so much is under way, and the autoscaler looks. fields: of the endpoint's load."""
        self.pass_time(after_s)
        endpoint = EndpointLoad(key=f"acme/{name}", **{"stable": stable, "burst": stable} | fields)
        gateway = GatewayLoad(at=self.now, since=self.now - timedelta(hours=1), endpoints=(endpoint,))
        host = (await self.driver.hosts())[0]
        self.driver.measured[host] = HostLoad(host=host, gateway=gateway)
        if self.reconciler.term is not None:
            await self.reconciler.term.scaler.look()

    async def until(self, what: str, probe: Callable[[], Awaitable[T | None]]) -> T:
        """The first answer of probe that is true; AssertionError naming what after a while."""
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        while True:
            found = await probe()
            if found:
                return found
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"not within {DEADLINE_S} s: {what}; {await self.describe()}")
            await asyncio.sleep(0.01)

    async def settled(self, name: str = "chat") -> Endpoint:
        """The endpoint once its current generation is ready, or cannot become so."""

        async def probe() -> Endpoint | None:
            found = await endpoints.get("acme", name)
            return found if endpoints.is_settled(found, found.metadata.generation) else None

        return await self.until(f"{name} settles", probe)

    async def gone(self, name: str = "chat") -> None:
        async def probe() -> bool:
            try:
                await endpoints.get("acme", name)
            except NotFound:
                return True
            return False

        await self.until(f"{name} is gone", probe)

    async def quiet(self) -> None:
        """Return once the loop has nothing to do now."""

        async def probe() -> bool:
            term = self.reconciler.term
            return term is not None and term.queue.is_idle

        await self.until("the loop is idle", probe)

    def weights(self, name: str = "chat") -> dict[str, int]:
        """Variant → weight as the gateway has them."""
        route = self.driver.snapshot().routes.get(f"acme/{name}")
        return {} if route is None else {t.track.rpartition(".")[0]: t.weight for t in route.tracks if t.weight}

    async def describe(self) -> str:
        found = await database.rows("SELECT name, phase, status FROM (SELECT name, status ->> 'phase' AS phase, status FROM endpoint) e")
        return f"{[(row['name'], row['phase'], row['status']) for row in found]}; {self.driver.running()}"


@contextlib.asynccontextmanager
async def a_region(home: Path, url: str, hosts: tuple[HostCapacity, ...] = (a_host(gpus=4),), gateways: int = 1) -> AsyncIterator[Region]:
    """A region with its declarations made and nothing running; everything ends with it."""
    region = Region(home, url, hosts, gateways)
    try:
        await region.declare()
        yield region
    finally:
        await region.close()
