"""`fleetform down`: nothing of ours is left running, in an order that loses nothing, whatever is dead already."""

import shutil
from collections.abc import Callable
from typing import NamedTuple

import click
import httpx2

from fleetform import settings
from fleetform.cli import preflight, programs, supervision
from fleetform.domain.replica import Address
from fleetform.errors import SetupError
from fleetform.gateway.bootstrap import hot_restart_memory
from fleetform.host import processes, record
from fleetform.host.layout import Layout
from fleetform.host.pool import sleeper
from fleetform.host.processes import Identity
from fleetform.settings import Settings

WORKER_BACK_S = 45.0
"""How long a dead worker may take to come back: the supervisor's longest back-off and a start."""
ENGINES_STOP_S = 120.0
ENGINE_GRACE_S = 10.0


@click.command("down")
def down() -> None:
    """Stop what `up` started on this machine: the server, the engines, then all the rest. Data is kept."""
    ours = settings.load()
    if not runs(ours):
        click.echo(f"Nothing of {ours.home} runs.")
        return
    with supervision.alone(ours):
        stop_everything(ours)
    click.echo("Stopped. `fleetform up` finds the data again.")


def runs(ours: Settings) -> bool:
    """True when any process of this home lives."""
    if not ours.home.exists():
        return False
    return bool(preflight.running(ours.home) or supervision.supervisor(ours) or living_engines(ours))


def stop_everything(ours: Settings) -> None:
    """The server first, so that nothing new is asked for; then the activator, so that what comes is refused and not held for engines
    that will not start; then the engines; then the supervisor with the rest; then the sockets.
    """
    programs.served_mark(ours).unlink(missing_ok=True)
    # A dead supervisor is started once more: it adopts what lives, and what follows is one path and not two.
    supervision.rescan_or_start(ours)
    supervision.stop_child(ours, programs.SERVER)
    supervision.stop_child(ours, programs.ACTIVATOR)
    stop_engines(ours)
    supervision.stop(ours)
    preflight.check_run_dir(ours.run)
    shutil.rmtree(ours.run, ignore_errors=True)
    hot_restart_memory(ours).unlink(missing_ok=True)


def stop_engines(ours: Settings) -> None:
    """Have the worker end every engine in order; those that then still live, or all when no worker answers, are ended by record."""
    if not living_engines(ours):
        return
    if _within(WORKER_BACK_S, lambda: _worker_answers(ours)) and _ask_worker_to_stop_engines(ours):
        _within(ENGINES_STOP_S, lambda: not living_engines(ours))
    layout = Layout(ours)
    for engine in living_engines(ours):
        processes.end_group(engine.leader, layout.work(engine.engine_id), ENGINE_GRACE_S)


class Living(NamedTuple):
    """An engine that runs, or sleeps. name: for people. engine_id: under which it has its paths."""

    name: str
    engine_id: str
    leader: Identity
    address: Address | None


def living_engines(ours: Settings) -> list[Living]:
    """Engines of which a process still lives, those that sleep last."""
    layout = Layout(ours)
    asleep = {found.engine_id: found for found in sleeper.load_all(layout)}
    found = [
        Living(f"engine {one.start.project}/{one.start.endpoint} {one.replica_id}", one.engine_id, one.identity, one.address)
        for one in record.load_all(layout)
        if one.identity is not None and one.engine_id not in asleep
    ]
    for engine_id, one in asleep.items():
        found.append(Living(f"asleep {one.start.project}/{one.start.endpoint} {engine_id}", engine_id, one.identity, one.address))
    return [engine for engine in found if processes.group(engine.leader, layout.work(engine.engine_id)).ours]


def _within(timeout_s: float, holds: Callable[[], bool]) -> bool:
    """True when holds() came true in time."""
    try:
        supervision.wait_until(holds, timeout_s, lambda: "")
    except SetupError:
        return False
    return True


def _worker_answers(ours: Settings) -> bool:
    return _worker(ours, "GET", "/healthz")


def _ask_worker_to_stop_engines(ours: Settings) -> bool:
    return _worker(ours, "POST", "/v1/shutdown")


def _worker(ours: Settings, method: str, path: str) -> bool:
    """True when the host worker answered with success."""
    transport = httpx2.HTTPTransport(uds=str(ours.host_socket))
    with httpx2.Client(transport=transport, base_url="http://host", timeout=ENGINES_STOP_S) as client:
        try:
            return client.request(method, path).is_success
        except httpx2.HTTPError:
            return False
