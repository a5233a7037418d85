"""`fleetform up`: everything of this machine, started or adopted, and the administrator's key."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import click
import httpx2

from fleetform import credentials, settings
from fleetform.cli import admin_token, environment_file, preflight, programs, supervision
from fleetform.cli.down import stop_everything
from fleetform.errors import SetupError
from fleetform.host import postgres
from fleetform.settings import Settings

READY_TIMEOUT_S = 90.0
DISK_MIB = 1024
MEMORY_MIB = 1024


@click.command("up")
@click.option("--detach", is_flag=True, help="Return once all of it serves, instead of waiting for Ctrl-C.")
def up(*, detach: bool) -> None:
    """Start Fleetform on this machine, or take over what already runs; a changed setting restarts only what it concerns.

    Everything is kept in FLEETFORM_HOME (default: .fleetform). Without --detach the command stays, and Ctrl-C stops all of it.
    """
    ours = settings.load()
    check(ours)
    supervision.prepare_directories(ours)
    with supervision.alone(ours):
        bring_up(ours)
    if not detach:
        stay(ours)


def bring_up(ours: Settings) -> None:
    """Everything after the checks: database, programs, the administrator's key."""
    with _told("Preparing the database"):
        prepare(ours)
    with _told("Starting the programs"):
        start(ours)
    key = environment_file.read(ours).get("FLEETFORM_TOKEN", "")
    if key_must_be_made(ours, datetime.now(UTC)):
        with _told("Making the administrator's key"):
            key = admin_token.make(ours)
    environment_file.write(ours, key)
    click.echo(f"Control API  {ours.api_url}\nGateway      {ours.gateway_url}\nEnvironment  {environment_file.path(ours)}")


def check(ours: Settings) -> None:
    """SetupError with the remedy when this machine is not fit; nothing is changed."""
    preflight.check_platform()
    preflight.check_driver(ours.driver)
    ports = {"FLEETFORM_API_PORT": ours.api_port, "FLEETFORM_GATEWAY_PORT": ours.gateway_port}
    if ours.metrics_port is not None:
        ports["FLEETFORM_METRICS_PORT"] = ours.metrics_port
    preflight.check_ports(ports, ours.home)
    preflight.check_disk(ours.home, DISK_MIB, "Fleetform")
    preflight.check_run_dir(ours.run)
    if not preflight.running(ours.home):
        preflight.check_memory(MEMORY_MIB, "Fleetform without any model")


def prepare(ours: Settings) -> None:
    """The signing key and the embedded database: made once, found again later."""
    credentials.load_or_create(ours.signing_key)
    if ours.database_url is None:
        postgres.prepare(ours)


def start(ours: Settings) -> None:
    """Have every program run as its settings are now, and wait until all of it serves."""
    before = preflight.running(ours.home)
    if supervision.supervisor(ours) is None:
        programs.served_mark(ours).unlink(missing_ok=True)
    outdated = {name: before[name] for name in programs.write_all(ours) if name in before}
    supervision.rescan_or_start(ours)
    # A program that still runs as it was would answer the questions of wait_ready, and then be restarted.
    supervision.wait_until(
        lambda: not outdated.items() & preflight.running(ours.home).items(),
        READY_TIMEOUT_S,
        lambda: f"{', '.join(outdated)} did not end to be started anew: see {ours.home / 'logs' / 'supervisor.log'}",
    )
    wait_ready(ours)
    programs.served_mark(ours).touch(mode=0o600)


def wait_ready(ours: Settings) -> None:
    """Until the control API is ready and the gateway answers; SetupError with the end of the log that matters."""

    def not_ready(asked: str) -> str:
        running = preflight.running(ours.home)
        # What was asked may only wait for another program, which does not run at all.
        in_order = (spec["name"] for spec in programs.specs(ours, os.environ) if spec["name"] != programs.ZYGOTE)
        program = next((name for name in in_order if name not in running), asked)
        state = "is not ready" if program in running else "does not run"
        tail = supervision.log_tail(ours.home / "logs" / f"{program}.log")
        return f"the {program} {state} after {READY_TIMEOUT_S:.0f} s; the end of its log:\n{tail}"

    api, gateway = f"{ours.api_url}/readyz", f"{ours.local_gateway_url}/v1/models"
    with httpx2.Client(timeout=2.0, trust_env=False) as client:
        supervision.wait_until(lambda: _status(client, api) == 200, READY_TIMEOUT_S, lambda: not_ready(programs.SERVER))
        # Without a key 401 is the right answer: Envoy has been told who may come in.
        supervision.wait_until(lambda: _status(client, gateway) == 401, READY_TIMEOUT_S, lambda: not_ready(programs.ENVOY))


def key_must_be_made(ours: Settings, now: datetime) -> bool:
    """True when there is no administrator's key, it ends within seven days, or this server refuses it."""
    key = environment_file.read(ours).get("FLEETFORM_TOKEN", "")
    ends = environment_file.expires_at(key)
    if ends is None or ends - now < environment_file.RENEW_BEFORE:
        return True
    with httpx2.Client(timeout=10.0, trust_env=False, headers={"Authorization": f"Bearer {key}"}) as client:
        return _status(client, f"{ours.api_url}/v1/region") in (401, 403)


def stay(ours: Settings) -> None:
    """Until Ctrl-C or SIGTERM, then stop everything. SetupError when the supervisor ends by itself: a service manager starts us again."""
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    click.echo("Ctrl-C stops all of it; `fleetform up --detach` would let it run.")
    lost_at: float | None = None
    while not asked.wait(1.0):
        # The worker restarts a dead supervisor, so a gap is no end.
        alive = supervision.supervisor(ours) is not None
        lost_at = None if alive else lost_at or time.monotonic()
        if lost_at is not None and time.monotonic() - lost_at > supervision.SUPERVISOR_START_S:
            raise SetupError("the supervisor has ended; `fleetform up` starts it again and takes over what still runs")
    stop_everything(ours)


def _status(client: httpx2.Client, url: str) -> int | None:
    try:
        return client.get(url).status_code
    except httpx2.HTTPError:
        return None


@contextmanager
def _told(what: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    click.echo(f"{what:<34} {time.monotonic() - begun:5.1f} s")
