"""`fleetform logs`: the last lines that the engines of an endpoint wrote."""

import click

from fleetform.cli.context import Session, verb
from fleetform.cli.failures import Refused
from fleetform.cli.replicas import standalone
from fleetform_sdk import NotFoundError, types


@verb(
    standalone,
    "logs",
    click.option("--endpoint", help="The endpoint's name; not needed with --replica."),
    click.option("--replica", help="One replica's id, as `fleetform replicas` lists them; by default every replica of the endpoint."),
    click.option("--lines", type=int, default=100, help="How many lines of each. Default: 100."),
    examples=("logs --endpoint acme-summarize-prod", "logs --replica 5f0c2a9d --lines 500"),
    fields={"/lines": "--lines", "/replica_id": "--replica", "/name": "--endpoint"},
)
def logs(session: Session, endpoint: str | None, replica: str | None, lines: int) -> None:
    """The last lines of the engine of a replica, also of one that failed."""
    found = _found(session, endpoint, replica, lines)
    if session.out.form == "json":
        session.out.json(found)
        return
    for log in found:
        for line in log.lines:
            click.echo(line if len(found) == 1 else f"{log.replica_id} | {line}")


def _found(session: Session, endpoint: str | None, replica: str | None, lines: int) -> list[types.LogText]:
    endpoints = session.client.endpoints
    if replica is not None:
        return [endpoints.logs(endpoint, replica, lines=lines) if endpoint else _of_any_endpoint(session, replica, lines)]
    if endpoint is None:
        raise click.UsageError("name an endpoint with --endpoint, or one replica with --replica")
    ids = [found.id for found in endpoints.replicas(endpoint)]
    if not ids:
        raise Refused(f"endpoint {endpoint} has no replica; `fleetform endpoint events {endpoint}` tells why")
    return [endpoints.logs(endpoint, id_, lines=lines) for id_ in ids]


def _of_any_endpoint(session: Session, replica: str, lines: int) -> types.LogText:
    """The log of a replica whose endpoint was not named: each endpoint is asked, so that one which has failed is found too."""
    for endpoint in session.client.endpoints.list():
        try:
            return session.client.endpoints.logs(endpoint.metadata.name, replica, lines=lines)
        except NotFoundError:
            continue
    raise Refused(f"no endpoint of the project has a replica {replica!r}; `fleetform replicas --endpoint NAME` lists them")
