"""`fleetform status`: what of this home runs on this machine, where it listens, and what it serves."""

import os
import time
from pathlib import Path

import click
import httpx2
import msgspec

from fleetform import settings
from fleetform.cli import environment_file, preflight, programs, supervision
from fleetform.cli.down import living_engines
from fleetform.cli.output import Output, span
from fleetform.domain.base import Record
from fleetform.domain.protocol import HostHealth
from fleetform.host import postgres, processes
from fleetform.settings import Settings
from fleetform_sdk import Client, FleetformError

STALE_AFTER_S = 30.0
"""A server asks at least every five seconds."""
API_TIMEOUT_S = 5.0
"""What runs here is told also when the server hangs, and soon."""


class Program(Record, frozen=True, kw_only=True):
    """One program. pid None: it should run and does not. listens: a port or a socket."""

    name: str
    pid: int | None
    age_s: int | None
    memory_mib: int | None
    listens: str


class Served(Record, frozen=True, kw_only=True):
    """One endpoint of any project."""

    project: str
    endpoint: str
    phase: str
    ready: int
    wanted: int


class Status(Record, frozen=True, kw_only=True):
    """What runs here. problem: why the endpoints could not be listed. stale: since when what is served may be old; empty: it is not.

    snapshots: what lies on disk of engines, or why nothing does; empty where none are asked for.
    """

    home: str
    programs: tuple[Program, ...]
    endpoints: tuple[Served, ...] = ()
    problem: str = ""
    stale: str = ""
    snapshots: str = ""


@click.command("status")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", help="Default: table.")
def status(output: str) -> None:
    """Show the programs of this machine with their pids, where they listen, and every endpoint. Exit status 1 when one does not run."""
    ours = programs.in_force(settings.load())
    running = programs_of(ours)
    served, problem = endpoints_of(ours)
    health = health_of(ours)
    snapshots = health.snapshots if isinstance(health, HostHealth) else ""
    found = Status(home=str(ours.home), programs=running, endpoints=served, problem=problem, stale=staleness(health), snapshots=snapshots)
    out = Output(output)
    if output == "json":
        out.json(found)
    else:
        _show(out, found)
    if any(program.pid is None for program in running):
        raise SystemExit(1)


def programs_of(ours: Settings) -> tuple[Program, ...]:
    """The supervisor, its children and the engines; those that should run and do not have no pid."""
    if not ours.home.exists():
        return (_program("supervisor", None, ""),)
    running = preflight.running(ours.home)
    wanted = [path.stem for path in sorted((ours.home / "host" / "children").glob("*.json"))]
    places = {
        programs.SERVER: f"{ours.listen_host}:{ours.api_port}",
        programs.ENVOY: f"{ours.listen_host}:{ours.gateway_port}",
        programs.POSTGRES: str(postgres.socket_path(ours)),
        programs.WORKER: str(ours.host_socket),
        programs.ACTIVATOR: str(ours.activator_socket),
    }
    found = [_program("supervisor", supervision.supervisor(ours), "")]
    found += [_program(name, running.get(name), places.get(name, "")) for name in wanted]
    for engine in living_engines(ours):
        found.append(_program(engine.name, engine.leader, getattr(engine.address, "path", "") or ""))
    return tuple(found)


def endpoints_of(ours: Settings) -> tuple[tuple[Served, ...], str]:
    """Every endpoint of every project, or why they cannot be told."""
    key = environment_file.read(ours).get("FLEETFORM_TOKEN")
    if key is None:
        return (), "no administrator's key yet: run `fleetform up`"
    found = []
    try:
        with Client(base_url=ours.api_url, token=key, project="-", timeout=API_TIMEOUT_S, max_retries=0) as client:
            for project in client.projects.list().all():
                for endpoint in client.with_options(project=project.metadata.name).endpoints.list().all():
                    counts = endpoint.status.replicas
                    found.append(
                        Served(
                            project=project.metadata.name,
                            endpoint=endpoint.metadata.name,
                            phase=endpoint.status.phase,
                            ready=counts.ready,
                            wanted=counts.wanted,
                        )
                    )
    except (FleetformError, httpx2.HTTPError) as error:
        return (), f"the control API does not answer: {error}"
    return tuple(found), ""


def health_of(ours: Settings) -> HostHealth | str | None:
    """What the host worker says of itself, or why it says nothing; None where there is no home."""
    if not ours.home.exists():
        return None
    try:
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(ours.host_socket)), base_url="http://host", timeout=5.0) as client:
            return msgspec.json.decode(client.get("/healthz").content, type=HostHealth)
    except httpx2.HTTPError as error:
        return str(error)


def staleness(health: HostHealth | str | None) -> str:
    """Since when this machine serves by what it was told last, in words; empty while a server asks it what is new."""
    if health is None:
        return ""
    if isinstance(health, str):
        return f"the host worker does not answer ({health}): what is served is what it was told last"
    if health.server_heard_s is None:
        return "no server has asked this machine since its worker started: what is served is what it was told before"
    if health.server_heard_s < STALE_AFTER_S:
        return ""
    return f"no server has asked this machine for {span(int(health.server_heard_s))}: what is served is what it was told last"


def _show(out: Output, found: Status) -> None:
    rows = [(p.name, p.pid or "not running", span(p.age_s) if p.age_s is not None else "", p.memory_mib, p.listens) for p in found.programs]
    out.rows(("program", "pid", "age", "MiB", "listens"), rows, found.programs)
    click.echo()
    if found.stale:
        click.echo(f"Stale: {found.stale}.")
    if found.snapshots:
        click.echo(f"Snapshots: {found.snapshots}.")
    if found.problem:
        click.echo(found.problem)
        return
    served = [(f"{e.project}/{e.endpoint}", e.phase, f"{e.ready}/{e.wanted}") for e in found.endpoints]
    if served:
        out.rows(("endpoint", "phase", "ready"), served, found.endpoints)
    else:
        click.echo("No endpoint is declared.")


def _program(name: str, identity: processes.Identity | None, listens: str) -> Program:
    if identity is None:
        return Program(name=name, pid=None, age_s=None, memory_mib=None, listens=listens)
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - identity.start_ticks / os.sysconf("SC_CLK_TCK")
    return Program(name=name, pid=identity.pid, age_s=int(age), memory_mib=_session_memory_mib(identity), listens=listens)


def _session_memory_mib(leader: processes.Identity) -> int:
    """Resident memory of all processes of the session: an engine is several."""
    pages = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found = processes.read_stat(int(folder.name))
            if found is not None and found.session_id == leader.session_id:
                pages += int((folder / "statm").read_text().split()[1])
        except OSError:  # it has ended meanwhile
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20
