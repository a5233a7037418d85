"""`fleetform quota`: how many replicas of an instance type a project may run."""

import click

from fleetform.cli.context import Session, verb

FIELDS = {"/spec/max_replicas": "--max-replicas", "/instance_type": "--instance-type"}


@click.group()
def quota() -> None:
    """How many replicas a project may run."""


@verb(
    quota,
    "set",
    click.option("--instance-type", required=True, help="The instance type."),
    click.option("--max-replicas", type=int, required=True, help="The most replicas of it, over all endpoints of the project."),
    examples=("quota set --project acme --instance-type gpu-a10-1x --max-replicas 20",),
    fields=FIELDS,
)
def set_(session: Session, instance_type: str, max_replicas: int) -> None:
    """Set a quota."""
    found = session.client.quotas.apply(instance_type, max_replicas=max_replicas)
    session.out.done(f"{instance_type}: {found.spec.max_replicas} replicas, {found.status.used} used", found)


@verb(quota, "list", examples=("quota list --project acme",))
def list_(session: Session) -> None:
    """List the quotas with what is used of them, and by whom."""
    found = session.client.quotas.list().all()
    rows = [
        (q.metadata.name, q.spec.max_replicas, q.status.used, q.status.free, [f"{h.endpoint}={h.replicas}" for h in q.status.holders])
        for q in found
    ]
    session.out.rows(("instance type", "max", "used", "free", "holders"), rows, found)


@verb(quota, "delete", click.argument("instance_type"), examples=("quota delete gpu-a10-1x --project acme",))
def delete(session: Session, instance_type: str) -> None:
    """Take a quota away; nothing may be using it."""
    session.client.quotas.delete(instance_type)
    session.out.done(f"quota of {instance_type} deleted")
