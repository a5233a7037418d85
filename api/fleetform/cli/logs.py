"""`fleetform logs`: the last lines that the engines of an endpoint wrote."""

import click

from fleetform.cli.context import Session, verb
from fleetform.cli.failures import Refused
from fleetform.cli.replicas import standalone


@verb(
    standalone,
    "logs",
    click.option("--endpoint", required=True, help="The endpoint's name."),
    click.option("--replica", help="One replica's id; by default every replica of the endpoint."),
    click.option("--lines", type=int, default=100, help="How many lines of each. Default: 100."),
    examples=("logs --endpoint acme-summarize-prod", "logs --endpoint acme-summarize-prod --replica 5f0c2a9d --lines 500"),
    fields={"/lines": "--lines", "/replica_id": "--replica", "/name": "--endpoint"},
)
def logs(session: Session, endpoint: str, replica: str | None, lines: int) -> None:
    """The last lines of the engine of a replica, also of one that failed."""
    ids = [replica] if replica else [found.id for found in session.client.endpoints.replicas(endpoint)]
    if not ids:
        raise Refused(f"endpoint {endpoint} has no replica; `fleetform endpoint events {endpoint}` tells why")
    found = [session.client.endpoints.logs(endpoint, id_, lines=lines) for id_ in ids]
    if session.out.form == "json":
        session.out.json(found)
        return
    for id_, log in zip(ids, found, strict=True):
        for line in log.lines:
            click.echo(line if len(ids) == 1 else f"{id_} | {line}")
