"""`fleetform admin-token`: a region administrator's key, made on the server's own machine, where the signing key is."""

import asyncio
from datetime import UTC, datetime

import click

from fleetform import credentials, settings
from fleetform.cli import programs
from fleetform.host import postgres
from fleetform.settings import Settings
from fleetform.store import bootstrap, database


@click.command("admin-token")
def admin_token() -> None:
    """Make a new region administrator's key, valid for 90 days, and print it. Earlier keys stay valid until they expire.

    Works on the server's machine alone: it reads the signing key and the database.
    """
    click.echo(make(programs.of_the_server(settings.load())))


def make(ours: Settings) -> str:
    """A new region administrator's key. DatabaseAway when the database does not answer."""
    return asyncio.run(_make(ours))


async def _make(ours: Settings) -> str:
    await database.connect(postgres.url(ours), pool_max=1)
    try:
        credential = await bootstrap.mint_admin(ours, credentials.load_or_create(ours.signing_key), datetime.now(UTC))
        return credential.secret
    finally:
        await database.close()
