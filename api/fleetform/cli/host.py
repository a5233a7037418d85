"""`fleetform host`: the supervisor and, as its children, the worker and the activator."""

import sys
from pathlib import Path

import click


@click.group("host", invoke_without_command=True)
@click.pass_context
def host(ctx: click.Context) -> None:
    """Run the host process of this machine in the foreground: the supervisor with its children.

    The children are what `fleetform up` wrote into FLEETFORM_HOME/host/children.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(supervisor, home=None)


@host.command("supervisor")
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="By default FLEETFORM_HOME.")
def supervisor(home: Path | None) -> None:
    """The root process: starts its children, restarts them, collects their exits. Exit status 3 when one already runs."""
    from fleetform.host import supervisor as program

    sys.exit(program.main(["--home", str(home)] if home is not None else []))


@host.command("worker")
def worker() -> None:
    """Devices, artifacts, engines and the routing snapshot of this machine."""
    from fleetform.host import worker as program

    program.main()


@host.command("activator")
def activator() -> None:
    """Answers for endpoints that have no replica to answer."""
    from fleetform.gateway import activator as program

    program.main()
