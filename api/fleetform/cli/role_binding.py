"""`fleetform role-binding`: who holds which role in a project."""

import click

from fleetform.cli.context import Session, verb
from fleetform.cli.output import age

ROLES = ("inference.viewer", "inference.invoker", "inference.deployer", "inference.admin")
FIELDS = {"/spec/roles": "--role", "/principal": "--principal"}


@click.group()
def role_binding() -> None:
    """Who holds which role in a project."""


@verb(
    role_binding,
    "set",
    click.option("--principal", required=True, help="user:<name> or token:<project>:<name>."),
    click.option("--role", "roles", multiple=True, required=True, help=f"{', '.join(ROLES)}. Repeat for several."),
    examples=(
        "role-binding set --project acme --principal user:rahim --role inference.deployer",
        "role-binding set --project '*' --principal user:rahim --role inference.admin",
    ),
    fields=FIELDS,
)
def set_(session: Session, principal: str, roles: tuple[str, ...]) -> None:
    """Set the roles of a principal; `--project '*'` is the whole region."""
    found = session.client.role_bindings.apply(principal, roles=list(roles))
    session.out.done(f"{principal}: {', '.join(found.spec.roles)}", found)


@verb(role_binding, "list", examples=("role-binding list --project acme",))
def list_(session: Session) -> None:
    """List who holds which roles."""
    found = session.client.role_bindings.list().all()
    rows = [(b.metadata.name, b.spec.roles, age(b.metadata.created_at)) for b in found]
    session.out.rows(("principal", "roles", "age"), rows, found)


@verb(role_binding, "delete", click.argument("principal"), examples=("role-binding delete user:rahim --project acme",))
def delete(session: Session, principal: str) -> None:
    """Take all roles of a principal away."""
    session.client.role_bindings.delete(principal)
    session.out.done(f"{principal}: no roles")
