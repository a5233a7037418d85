"""`fleetform server`: the control API and the reconciler, in the foreground."""

import click

from fleetform import app, settings

ROLES = ("api", "reconciler")


@click.command("server")
@click.option("--role", default=",".join(ROLES), show_default=True, help="What this process does, separated by commas.")
def server(role: str) -> None:
    """Run the control API and the reconciler in the foreground, with the settings of the FLEETFORM_ variables.

    `fleetform up` starts it with all else that a machine needs. Alone it is for a control plane with a database of its own
    (FLEETFORM_DATABASE_URL).
    """
    roles = frozenset(word.strip() for word in role.split(","))
    if not roles or not roles <= set(ROLES):
        raise click.BadParameter(f"{role!r} is not made of {', '.join(ROLES)}", param_hint="--role")
    app.serve(settings.load(), roles)
