"""`fleetform fleetcheck`: whether what is recorded, what runs and what is routed agree."""

import asyncio

import click

from fleetform import settings
from fleetform.cli import programs
from fleetform.cli.output import Output
from fleetform.fleetcheck.facts import Verdict
from fleetform.fleetcheck.look import look


@click.command("fleetcheck")
@click.option("--within", "within_s", type=float, default=10.0, show_default=True, help="Seconds that what is on its way may take.")
@click.option("--canary", "canaries", multiple=True, help="A text that must stand in no log and no row; may be given several times.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", help="Default: table.")
def fleetcheck(within_s: float, canaries: tuple[str, ...], output: str) -> None:
    """Compare the database, this machine's engines, the routing snapshot and Envoy, and say of each invariant whether it holds.

    Works on the server's machine, and changes nothing. What is broken at one look may only be on its way: it counts when it still is
    after --within seconds. Exit status 1 when an invariant is broken, with the ids that are concerned.
    """
    found = asyncio.run(look(programs.of_the_server(settings.load()), within_s, canaries))
    if output == "json":
        Output(output).json(found)
    else:
        for verdict in found:
            _show(verdict)
    if any(verdict.broken for verdict in found):
        raise SystemExit(1)


def _show(verdict: Verdict) -> None:
    word = "BROKEN" if verdict.broken else "unseen" if verdict.looked_at is None else "ok"
    count = "there is no host worker on this machine" if verdict.looked_at is None else f"{verdict.looked_at} looked at"
    click.echo(f"{verdict.invariant}  {word:<6}  {verdict.title} ({count})")
    for broken in verdict.broken:
        click.echo(f"            {', '.join(broken.ids)}: {broken.message}")
