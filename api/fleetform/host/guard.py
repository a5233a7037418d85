"""The worker looks after the supervisor as the supervisor looks after it: either may be killed alone and comes back."""

import asyncio
import os
from pathlib import Path

import structlog

from fleetform.host import processes, records
from fleetform.host.children import recorded_identity
from fleetform.host.exits import gone
from fleetform.host.launcher import launch
from fleetform.host.layout import Layout

LOOK_AGAIN_S = 1.0
BACK_OFF_MAX_S = 30.0

log = structlog.get_logger(__name__)


async def keep_supervisor(layout: Layout) -> None:
    """Start the supervisor anew whenever it dies. One that was stopped in order has removed its record, and is left alone."""
    back_off_s = LOOK_AGAIN_S
    while True:
        identity = recorded_identity(layout.supervisor)
        if identity is not None and processes.alive(identity):
            back_off_s = LOOK_AGAIN_S
            await gone(identity)
        elif identity is not None:
            await asyncio.to_thread(_start_again, layout)
            await asyncio.sleep(back_off_s)
            back_off_s = min(back_off_s * 2, BACK_OFF_MAX_S)
        else:
            await asyncio.sleep(LOOK_AGAIN_S)


def _start_again(layout: Layout) -> None:
    record = records.read_json(layout.supervisor)
    if record is None:
        return
    try:
        started = launch(record["argv"], os.environ, Path(record["cwd"]), layout.supervisor_log, lambda identity: None)
        log.warning("supervisor_restarted", pid=started.pid)
    except (OSError, KeyError) as error:
        log.error("supervisor_not_restarted", error=str(error))
