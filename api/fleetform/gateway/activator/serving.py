"""The activator as a program."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Generator

import uvicorn

from fleetform import logs
from fleetform import settings as settings_module
from fleetform.gateway.activator.app import Activator
from fleetform.gateway.activator.hold import Hold
from fleetform.gateway.store import SnapshotReader
from fleetform.settings import Settings


def main() -> None:
    """Serve on the activator's socket until a signal ends it."""
    settings = settings_module.load()
    logs.configure(settings.log_level)
    serve(settings)


def serve(settings: Settings) -> None:
    """Serve on the activator's socket of these settings until a signal ends it; what is held then goes back to Envoy."""
    settings.activator_socket.unlink(missing_ok=True)
    asyncio.run(_serve(settings))


class _Server(uvicorn.Server):
    """Lets go of what is held once nothing comes in any more: what Envoy takes back must not come here again."""

    def __init__(self, config: uvicorn.Config, hold: Hold) -> None:
        super().__init__(config)
        self._hold = hold

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Whoever waits goes on only after the sockets are closed, which uvicorn does before it awaits anything.
        self._hold.let_go()
        await super().shutdown(sockets)


async def _serve(settings: Settings) -> None:
    reader = SnapshotReader(settings.home / "gateway")
    hold = Hold(settings, reader)
    config = uvicorn.Config(
        Activator(reader, hold),
        uds=str(settings.activator_socket),
        loop="asyncio",
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=60,  # longer than Envoy keeps an idle connection, so that Envoy is the one to close it
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    server = _Server(config, hold)

    def stop() -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    parts = [asyncio.create_task(hold.run()), asyncio.create_task(hold.link.run())]
    try:
        await server.serve()
    finally:
        for part in parts:
            part.cancel()
