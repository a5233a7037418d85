"""`fleetform project`: projects, and where their artifacts may lie."""

from typing import Any

import click

from fleetform.cli.context import Session, verb
from fleetform.cli.options import PAIR, given
from fleetform.cli.output import age

FIELDS = {
    "/spec/display_name": "--display-name",
    "/spec/artifact_prefixes": "--artifact-prefix",
    "/spec/labels": "--label",
    "/project": "--name",
}
SPEC_OPTIONS = (
    click.option("--display-name", help="What people call it."),
    click.option(
        "--artifact-prefix",
        "artifact_prefixes",
        multiple=True,
        help="Where its artifacts may lie: s3://bucket/path/ or file:///path/. Repeat for several.",
    ),
    click.option("--label", "labels", type=PAIR, multiple=True, help="A label, key=value. Repeat for several."),
)


@click.group()
def project() -> None:
    """Projects and where their artifacts may lie."""


@verb(
    project,
    "create",
    click.option("--name", required=True, help="The project's name."),
    *SPEC_OPTIONS,
    examples=("project create --name acme --artifact-prefix s3://acme-models/",),
    fields=FIELDS,
)
def create(session: Session, name: str, **spec: Any) -> None:
    """Create a project (region administrators)."""
    found = session.client.projects.apply(name, create_only=True, **_spec(spec))
    session.out.done(f"project {name} created", found)


@verb(
    project,
    "update",
    click.option("--name", required=True, help="The project's name."),
    *SPEC_OPTIONS,
    examples=("project update --name acme --artifact-prefix s3://acme-models/ --artifact-prefix file:///srv/models/",),
    fields=FIELDS,
)
def update(session: Session, name: str, **spec: Any) -> None:
    """Change a project; what is given replaces what was there (region administrators)."""
    changes = _spec(spec)
    if not changes:
        raise click.UsageError("nothing to change: give --display-name, --artifact-prefix or --label")
    found = session.client.projects.update(name, lambda old: {**old, **changes})
    session.out.done(f"project {name} updated", found)


@verb(project, "list", examples=("project list",))
def list_(session: Session) -> None:
    """List the projects that your token may see."""
    found = session.client.projects.list().all()
    rows = [(p.metadata.name, p.spec.display_name, p.spec.artifact_prefixes or (), age(p.metadata.created_at)) for p in found]
    session.out.rows(("name", "display name", "artifact prefixes", "age"), rows, found)


@verb(project, "delete", click.argument("name"), examples=("project delete acme",))
def delete(session: Session, name: str) -> None:
    """Delete a project that is empty (region administrators)."""
    session.client.projects.delete(name)
    session.out.done(f"project {name} deleted")


def _spec(options: dict[str, Any]) -> dict[str, Any]:
    spec = given(**options)
    return {**spec, "labels": dict(spec["labels"])} if "labels" in spec else spec
