"""The worker looks after the supervisor as the supervisor looks after it: either may be killed alone and comes back."""

import asyncio
import os
from pathlib import Path

import structlog

from fleetform.host import processes, records
from fleetform.host.children import recorded_identity
from fleetform.host.exits import Exit, gone
from fleetform.host.launcher import launch
from fleetform.host.layout import Layout
from fleetform.host.processes import Identity

LOOK_AGAIN_S = 1.0
BACK_OFF_MAX_S = 30.0

log = structlog.get_logger(__name__)


async def keep_supervisor(layout: Layout) -> None:
    """Start the supervisor anew whenever it dies. One that was stopped in order has removed its record, and is left alone."""
    back_off_s = LOOK_AGAIN_S
    started: set[asyncio.Task[Exit | None]] = set()
    while True:
        try:
            identity = recorded_identity(layout.supervisor)
            if identity is not None and processes.alive(identity):
                back_off_s = LOOK_AGAIN_S
                await gone(identity)
                continue
            if identity is None:
                await asyncio.sleep(LOOK_AGAIN_S)
                continue
            ours = await asyncio.to_thread(_start_again, layout)
            # One that ends before it has written its record is collected too.
            started.add(ending := asyncio.create_task(gone(ours)))
            ending.add_done_callback(started.discard)
        except Exception as error:  # whatever it is: without this nobody would bring it back
            log.error("supervisor_not_restarted", error=str(error))
        await asyncio.sleep(back_off_s)
        back_off_s = min(back_off_s * 2, BACK_OFF_MAX_S)


def _start_again(layout: Layout) -> Identity:
    record = records.read_json(layout.supervisor) or {}
    identity = launch(record["argv"], os.environ, Path(record["cwd"]), layout.supervisor_log, lambda identity: None)
    log.warning("supervisor_restarted", pid=identity.pid)
    return identity
