"""The worker of a machine: engines, artifacts, devices, and the proxy's routing snapshot, behind the host protocol.

Its death changes nothing that runs: engines are sessions of their own with records, the proxy goes on with what it has, and the next
worker takes both up again. Everything it needs is imported at start, so that an upgrade below a running worker breaks nothing.
"""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import stat
from collections.abc import Generator, Iterable
from pathlib import Path

import structlog
import uvicorn
from litestar import Litestar

from fleetform import logs
from fleetform import settings as configuration
from fleetform.errors import SetupError
from fleetform.gateway.ejection import Ejection
from fleetform.gateway.feed import GatewayFeed
from fleetform.gateway.telemetry import Telemetry
from fleetform.host import ledger, records
from fleetform.host.api import make_app
from fleetform.host.artifacts.cache import ArtifactCache
from fleetform.host.board import Board
from fleetform.host.commands import Commands
from fleetform.host.engine_watch import EngineWatch
from fleetform.host.farewells.counted import counter
from fleetform.host.farewells.keeper import Keeper
from fleetform.host.fence import Fence
from fleetform.host.guard import keep_supervisor
from fleetform.host.healing import Healing
from fleetform.host.layout import Layout
from fleetform.host.parts import Host
from fleetform.host.pool.pool import WarmPool
from fleetform.host.prefetches import Prefetches
from fleetform.host.replicas import Replicas
from fleetform.host.snapshots import criu
from fleetform.host.snapshots.snapshots import Snapshots
from fleetform.host.verifications import Verifications
from fleetform.host.zygote.trust import Trust
from fleetform.settings import Settings

DESCRIPTORS = 65_536
"""As vLLM allows itself. Streams of engines take one each, and our limit also counts what this user's processes hand to one another."""

log = structlog.get_logger(__name__)


def main() -> None:
    """Run the worker of FLEETFORM_HOME in the foreground until SIGTERM, which leaves all engines running. SetupError when one runs."""
    settings = configuration.load()
    logs.configure(settings.log_level)
    _allow_descriptors()
    layout = Layout(settings)
    _check_run_directory(settings.run)
    with records.locked(layout.lock) as ours:
        if not ours:
            raise SetupError(f"a host worker already runs for {settings.home}")
        asyncio.run(serve(settings, layout))


async def serve(settings: Settings, layout: Layout) -> None:
    """Take up what runs, then answer on settings.host_socket until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    machine = await _discover(settings, layout)
    board = Board(machine.capacity)
    feed = GatewayFeed(settings, on_change=board.touch)
    board.gateway = feed.report
    telemetry = Telemetry(settings, lambda: feed.routes)
    artifacts = ArtifactCache(layout.cache)
    pool = WarmPool(layout, board, machine, settings.warm_pool_s)
    snapshots = Snapshots(layout, board, await _criu(settings, machine), settings.snapshots_mib, settings.warm_pool_s)
    host = Host(
        layout=layout,
        board=board,
        ledger=machine,
        artifacts=artifacts,
        proxy=FeedProxy(feed),
        pool=pool,
        snapshots=snapshots,
        trust=Trust(layout.trust),
    )
    replicas = Replicas(host)
    engines = EngineWatch(replicas, telemetry.store, telemetry.outliers)
    farewells = Keeper(layout.farewells, counter(replicas, telemetry.store))
    verifications = Verifications(board, artifacts)
    prefetches = Prefetches(artifacts)
    commands = Commands(Fence(layout), board, replicas, verifications, prefetches)
    await feed.start()
    telemetry.start()
    farewells.start()
    replicas.adopt()
    engines.start()
    healing = Healing(replicas, telemetry.sampler.in_flight)
    healing.start()
    ejection = Ejection(telemetry.outliers, lambda: feed.routes, replicas.is_well, telemetry.sampler.in_flight, replicas.eject)
    ejecting = asyncio.create_task(ejection.run(), name="ejection")
    guard = asyncio.create_task(keep_supervisor(layout))
    try:
        await _answer(settings.host_socket, make_app(board, commands, replicas, feed, telemetry, engines), stop)
    finally:
        guard.cancel()
        ejecting.cancel()
        await healing.stop()
        await farewells.stop()
        await engines.stop()
        await replicas.let_go()
        await pool.let_go()
        await snapshots.let_go()
        await verifications.stop()
        await prefetches.stop()
        await artifacts.close()
        await telemetry.stop()
        await feed.stop()
        log.info("worker_stopped")


class FeedProxy:
    """The feed as replicas see it."""

    def __init__(self, feed: GatewayFeed) -> None:
        self.feed = feed

    async def in_flight(self, key: str, replica_ids: Iterable[str]) -> dict[str, int]:
        return await self.feed.in_flight(key, replica_ids)

    def alive(self) -> bool:
        return self.feed.report().proxy_alive

    def take_out(self, replica_ids: frozenset[str]) -> None:
        self.feed.take_out(replica_ids)

    async def taken(self, limit_s: float) -> None:
        await self.feed.taken(limit_s)


class _Server(uvicorn.Server):
    """Without signal handlers of its own: the worker's own are set before anything is started."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def _answer(path: Path, app: Litestar, stop: asyncio.Event) -> None:
    # A graceful end waits for calls under way; a long poll would hold it for a minute.
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", loop="asyncio", timeout_graceful_shutdown=1)
    server = _Server(config)
    with _private_socket(path) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stopped = asyncio.create_task(stop.wait())
        log.info("worker_answers", socket=str(path))
        await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        stopped.cancel()
        await serving


@contextlib.contextmanager
def _private_socket(path: Path) -> Generator[socket.socket, None, None]:
    """A listening socket that only our own user may open."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(128)
        yield listener
    path.unlink(missing_ok=True)


def _allow_descriptors() -> None:
    """Have as many as the system lets us, within reason."""
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(usual, min(most, DESCRIPTORS)), most))


def _check_run_directory(path: Path) -> None:
    """Make the directory of sockets, which only our own user may enter; SetupError when it is somebody else's."""
    found = records.private_directory(path).stat(follow_symlinks=False)
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or stat.S_IMODE(found.st_mode) & 0o077:
        raise SetupError(f"{path} must be a directory of this user with mode 0700; remove it, or set XDG_RUNTIME_DIR")


async def _criu(settings: Settings, machine: ledger.Ledger) -> criu.Criu | str:
    """What puts engines on disk here; why nothing does; or nothing, where that is not asked for."""
    if not settings.snapshots_mib:
        return ""
    found = await criu.find(has_devices=bool(machine.capacity.devices))
    if isinstance(found, str):
        log.warning("snapshots_off", reason=found)
    return found


async def _discover(settings: Settings, layout: Layout) -> ledger.Ledger:
    """What the machine has. Its name and its devices' idle memory are kept: reservations speak of them."""
    kept = records.read_json(layout.devices) or {}
    name = str(kept.get("host") or socket.gethostname())
    idle_mib = kept.get("idle_mib")
    known = {uuid: mib for uuid, mib in (idle_mib if isinstance(idle_mib, dict) else {}).items() if isinstance(mib, int)}
    machine = await ledger.discover(name, settings.cpu_millis, settings.memory_mib, known, settings.warm_pool_mib)
    idle = {device.uuid: device.memory_free_idle_mib for device in machine.capacity.devices}
    now = {"host": name, "idle_mib": {**known, **idle}}
    if now != kept:
        try:
            records.write_json(layout.devices, now)
        except OSError as error:  # a full disk keeps nobody from looking after what runs
            log.error("record_not_written", path=str(layout.devices), error=str(error))
    return machine


if __name__ == "__main__":
    main()
