"""A control API in this process, for tests: a clock that stands still, keys for any role, and the calls in few words."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx2
from litestar import Litestar
from msgspec import UNSET

from fleetform import credentials as signing
from fleetform import settings as fleetform_settings
from fleetform.domain.access import Role
from fleetform.domain.load import HostLoad, Windows
from fleetform.domain.project import CredentialRequest, TokenSpec
from fleetform.domain.protocol import HostReplica, LogText
from fleetform.errors import NotFound
from fleetform.routes.application import create_app
from fleetform.routes.dependencies import Dependencies
from fleetform.routes.waker import Waker
from fleetform.store import bootstrap, credentials, tokens
from fleetform.store.writing import ANY
from tests.builders import NOON

VERSION = {"artifact": "file:///models/m", "framework": "pytorch", "runtime": "cpu"}


class Clock:
    """Stands still until moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


class Logs:
    """Engine logs that the test writes. asked: (replica, host) of each call."""

    def __init__(self) -> None:
        self.lines: dict[str, tuple[str, ...]] = {}
        self.asked: list[tuple[str, str | None]] = []

    async def read(self, replica_id: str, host: str | None, lines: int) -> LogText:
        self.asked.append((replica_id, host))
        if replica_id not in self.lines:
            raise NotFound(f"no log of {replica_id}")
        return LogText(replica_id=replica_id, lines=self.lines[replica_id][-lines:])


class Loads:
    """What hosts measure, as the test says. asked: how often."""

    def __init__(self) -> None:
        self.found: tuple[HostLoad, ...] = ()
        self.ended: tuple[dict[str, Windows], ...] = ()
        self.starts: dict[str, HostReplica] = {}
        self.asked = 0

    async def read(self) -> tuple[HostLoad, ...]:
        self.asked += 1
        return self.found

    async def recent(self, window_s: float) -> tuple[dict[str, Windows], ...]:
        return self.ended

    async def replicas(self, hosts: Mapping[str, str]) -> dict[str, HostReplica]:
        return {replica_id: self.starts[replica_id] for replica_id in hosts if replica_id in self.starts}


class Api:
    """The API as its region administrator sees it; `as_` is somebody else."""

    def __init__(self, app: Litestar, client: httpx2.AsyncClient, deps: Dependencies, clock: Clock, logs: Logs, key: str) -> None:
        self.app = app
        self.client = client
        self.deps = deps
        self.clock = clock
        self.logs = logs
        self.key = key

    def as_(self, key: str) -> "Api":
        return Api(self.app, self.client, self.deps, self.clock, self.logs, key)

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> httpx2.Response:
        """headers: `if_match="…"` becomes If-Match."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.key:
            named.setdefault("authorization", f"Bearer {self.key}")
        return await self.client.request(method, f"/v1{path}" if not path.startswith("/v1") else path, json=body, headers=named)

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.call("GET", path, **headers)

    async def delete(self, path: str, **headers: str) -> httpx2.Response:
        return await self.call("DELETE", path, **headers)

    async def put(self, path: str, spec: object, **headers: str) -> httpx2.Response:
        return await self.call("PUT", path, {"spec": spec}, **headers)

    async def must_put(self, path: str, spec: object) -> dict[str, Any]:
        """The resource, which must have been written."""
        answer = await self.put(path, spec)
        assert answer.status_code in (200, 201), answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def key_for(self, project: str, *roles: Role, name: str = "", endpoints: list[str] | None = None) -> str:
        """A key of a token in project with roles."""
        name = name or "-".join(["t", *sorted(role.value.split(".")[1] for role in roles)])
        spec = TokenSpec(roles=list(roles), ttl_days=90, endpoints=endpoints or UNSET)
        await tokens.put(project, name, spec, None, ANY, self.clock())
        minted = await credentials.mint(project, name, CredentialRequest(), None, self.deps.key, self.deps.settings.region, self.clock())
        return minted.secret

    async def project(self, name: str = "acme", quota: int = 10, *versions: str) -> None:
        """A project with a quota of `cpu-small` and registered versions of the model `m`."""
        await self.must_put(f"/projects/{name}", {"artifact_prefixes": ["file:///models/"]})
        await self.must_put(f"/projects/{name}/quotas/cpu-small", {"max_replicas": quota})
        for version in versions or ("v1",):
            await self.must_put(f"/projects/{name}/model-versions/m/{version}", VERSION)


def endpoint_spec(version: str = "v1", **fields: object) -> dict[str, Any]:
    """The smallest spec: one variant of `m:version` on `cpu-small`."""
    return {"instance_type": "cpu-small", "variants": {version: {"model_version": f"m:{version}"}}, **fields}


@asynccontextmanager
async def control_api(home: Path) -> AsyncIterator[Api]:
    """The control API over the database that the store is connected to."""
    clock, logs, loads = Clock(), Logs(), Loads()
    settings = fleetform_settings.load({"FLEETFORM_HOME": str(home), "FLEETFORM_MAX_BODY_MIB": "1"})
    key = signing.load_or_create(settings.signing_key)
    deps = Dependencies(settings=settings, key=key, logs=logs, loads=loads, waker=Waker(), now=clock)
    admin = await bootstrap.mint_admin(settings, key, clock())
    # Litestar's own test client runs the application on another event loop, where the connections of this one cannot be used.
    app = create_app(deps)
    transport = httpx2.ASGITransport(app=cast("Any", app), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://api.test") as client:
        yield Api(app, client, deps, clock, logs, admin.secret)
