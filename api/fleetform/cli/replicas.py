"""`fleetform replicas`: the replicas of an endpoint."""

import click

from fleetform.cli.context import Session, verb
from fleetform.cli.output import span

standalone = click.Group()


@verb(
    standalone,
    "replicas",
    click.option("--endpoint", required=True, help="The endpoint's name."),
    examples=("replicas --endpoint acme-summarize-prod",),
)
def replicas(session: Session, endpoint: str) -> None:
    """The replicas of an endpoint, with what runs where and why one is not ready."""
    found = session.client.endpoints.replicas(endpoint).all()
    rows = [(r.id, r.variant, r.model_version, r.phase, r.host, span(r.age_s), r.reason, r.message) for r in found]
    session.out.rows(("id", "variant", "model version", "phase", "host", "age", "reason", "message"), rows, found)
