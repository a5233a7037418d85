"""The only place where the server's parts are wired: database, control API, metrics, reconciler, driver."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import structlog
import uvicorn
from litestar import Litestar

from fleetform import credentials, logs
from fleetform.domain.load import HostLoad, Windows
from fleetform.domain.machine import InstanceTypeSpec
from fleetform.domain.protocol import HostReplica, LogText
from fleetform.drivers.base import Driver
from fleetform.drivers.fake import FakeDriver
from fleetform.drivers.local import LocalDriver
from fleetform.errors import AppError, DatabaseAway, HostUnreachable, NotFound, SetupError
from fleetform.host import ledger, postgres
from fleetform.reconciler import Reconciler
from fleetform.routes.application import create_app, create_metrics_app
from fleetform.routes.dependencies import Dependencies
from fleetform.routes.waker import Waker
from fleetform.settings import Settings
from fleetform.store import bootstrap, database, migrations

DATABASE_PATIENCE_S = 60.0
SHUTDOWN_S = 5
LOADS_EVERY_S = 1.0
LOADS_WITHIN_S = 1.0
METRICS_PORT = 9464
"""Where `/metrics` is when no port is set: the usual one of exporters."""

T = TypeVar("T")
log = structlog.get_logger(__name__)


def serve(settings: Settings, roles: frozenset[str]) -> None:
    """Run the server until SIGTERM or SIGINT. roles: `api`, `reconciler` or both.

    DatabaseAway when the database does not answer for a minute; SetupError when it, the key or a port cannot be used.
    """
    logs.configure(settings.log_level)
    asyncio.run(_serve(settings, roles))


def make_driver(settings: Settings) -> Driver:
    """The driver that the settings name."""
    return FakeDriver(settings.home) if settings.driver == "fake" else LocalDriver(settings.host_socket)


def utc_now() -> datetime:
    """The clock of everything that is handed one."""
    return datetime.now(UTC)


async def device_types(settings: Settings) -> dict[str, InstanceTypeSpec]:
    """An instance type `gpu-<kind>-1x` for each kind of device on this machine: one device, and its share of the rest."""
    if settings.driver != "local":
        return {}
    capacity = (await ledger.discover("local", settings.cpu_millis, settings.memory_mib, {})).capacity
    shares = max(1, len(capacity.devices))
    return {
        f"gpu-{device.kind}-1x": InstanceTypeSpec(
            cpu_millis=capacity.cpu_millis // shares,
            memory_mib=capacity.memory_mib // shares,
            accelerator=device.kind,
            accelerator_count=1,
            accelerator_memory_mib=device.memory_mib,
        )
        for device in capacity.devices
    }


def bound(host: str, port: int, variable: str) -> socket.socket:
    """A socket on that address, which does not listen yet; SetupError naming the variable when it cannot be had."""
    # With the protocol named, asyncio sends what is written at once. Without, an answer in two parts waits 40 ms for the client's ACK.
    where = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        where.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        where.bind((host, port))
    except OSError as error:
        where.close()
        raise SetupError(f"{host}:{port} cannot be listened on ({error.strerror}); set {variable} to a free port") from error
    return where


def metrics_socket(settings: Settings) -> socket.socket | None:
    """Where `/metrics` is served: on the port that is set, else on the usual one.

    None when somebody else has the usual one, which must not keep the server from serving.
    """
    try:
        return bound("127.0.0.1", settings.metrics_port or METRICS_PORT, "FLEETFORM_METRICS_PORT")
    except SetupError as error:
        if settings.metrics_port is not None:
            raise
        log.warning("no_metrics", error=error.message)
        return None


class DriverLogs:
    """Engine logs, by way of the driver."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def read(self, replica_id: str, host: str | None, lines: int) -> LogText:
        """The last lines of a replica's log, asked of every host when host is None."""
        unreachable: HostUnreachable | None = None
        for name in (host,) if host is not None else await self._driver.hosts():
            try:
                return await self._driver.log(name, replica_id, lines)
            except NotFound:
                continue
            except HostUnreachable as error:
                unreachable = error
        if unreachable is not None:
            raise unreachable
        raise NotFound(f"no log of replica {replica_id} is kept any more", replica_id=replica_id)


class DriverLoads:
    """What hosts measure, by way of the driver. However many ask, each host is asked once a second at most."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._asking: asyncio.Future[tuple[HostLoad, ...]] | None = None
        self._asked_at = 0.0

    async def read(self) -> tuple[HostLoad, ...]:
        """Of every host that answers within LOADS_WITHIN_S; the others are left out."""
        now = asyncio.get_running_loop().time()
        if self._asking is None or now - self._asked_at >= LOADS_EVERY_S:
            self._asked_at = now
            self._asking = asyncio.ensure_future(self._ask_all())
        return await asyncio.shield(self._asking)

    async def recent(self, window_s: float) -> tuple[dict[str, Windows], ...]:
        """How requests ended in the last window_s, of every host that answers within LOADS_WITHIN_S."""
        asked = [_soon(self._driver.recent(host, window_s)) for host in await self._hosts()]
        return tuple(found for found in await asyncio.gather(*asked) if found is not None)

    async def replicas(self, hosts: Mapping[str, str]) -> dict[str, HostReplica]:
        """Each replica of hosts (replica id → host) as its host has it now, where that says so within LOADS_WITHIN_S."""
        asked = [_soon(self._driver.replica(host, replica_id)) for replica_id, host in hosts.items()]
        return {found.replica_id: found for found in await asyncio.gather(*asked) if found is not None}

    async def _ask_all(self) -> tuple[HostLoad, ...]:
        asked = [_soon(self._driver.load(host)) for host in await self._hosts()]
        return tuple(found for found in await asyncio.gather(*asked) if found is not None)

    async def _hosts(self) -> tuple[str, ...]:
        return await _soon(self._driver.hosts()) or ()


async def _soon(answer: Awaitable[T]) -> T | None:
    """answer; None when it does not come within LOADS_WITHIN_S."""
    try:
        async with asyncio.timeout(LOADS_WITHIN_S):
            return await answer
    except (AppError, TimeoutError):
        return None


async def _serve(settings: Settings, roles: frozenset[str]) -> None:
    key = credentials.load_or_create(settings.signing_key)
    # Before the database is touched: a second server that cannot listen changes nothing.
    api = bound(settings.listen_host, settings.api_port, "FLEETFORM_API_PORT") if "api" in roles else None
    url = postgres.url(settings)
    driver = make_driver(settings)
    waker = Waker()
    async with _database(url), _closing(driver):
        await bootstrap.ensure_region(utc_now(), await device_types(settings))
        parts: dict[str, Coroutine[Any, Any, None]] = {}
        if api is not None:
            deps = Dependencies(settings=settings, key=key, logs=DriverLogs(driver), loads=DriverLoads(driver), waker=waker, now=utc_now)
            app = create_app(deps)
            parts["listen"] = database.listen(url, waker.told)
            parts["api"] = _http(app, api, waker.close)
            metrics = metrics_socket(settings)
            if metrics is not None:
                parts["metrics"] = _http(create_metrics_app(app, deps), metrics)
        if "reconciler" in roles:
            reconciler = Reconciler(settings=settings, driver=driver, key=key, now=utc_now)
            parts["reconciler"] = reconciler.run()
        await _until_stopped(parts)


@contextlib.asynccontextmanager
async def _database(url: str) -> AsyncIterator[None]:
    """The pool, with every migration done; waits for a database that is still starting."""
    deadline = asyncio.get_running_loop().time() + DATABASE_PATIENCE_S
    while True:
        try:
            await migrations.migrate(url)
            await database.connect(url)
            break
        except DatabaseAway as error:
            if asyncio.get_running_loop().time() > deadline:
                raise
            log.info("waiting_for_the_database", error=error.message)
            await asyncio.sleep(0.5)
    try:
        yield
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def _closing(driver: Driver) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await driver.close()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has one set, for all of its parts."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _http(app: Litestar, where: socket.socket, on_end: Callable[[], None] = lambda: None) -> None:
    """Serve app until cancelled; on_end is called then, and open requests have a few seconds to end."""
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=SHUTDOWN_S)
    server = _Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[where]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        on_end()
        server.should_exit = True
        await serving
        raise


async def _until_stopped(parts: dict[str, Coroutine[Any, Any, None]]) -> None:
    """Run every part until a signal comes; a part that ends by itself ends all, and its error leaves here."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = {asyncio.create_task(part, name=name) for name, part in parts.items()}
    stopped = asyncio.create_task(stop.wait(), name="stop")
    done, _ = await asyncio.wait({*tasks, stopped}, return_when=asyncio.FIRST_COMPLETED)
    for task in (*tasks, stopped):
        task.cancel()
    await asyncio.gather(*tasks, stopped, return_exceptions=True)
    for task in done - {stopped}:
        log.error("part_ended", part=task.get_name())
        task.result()
        raise RuntimeError(f"{task.get_name()} ended by itself")
