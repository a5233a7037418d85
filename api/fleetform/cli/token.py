"""`fleetform token`: tokens, and the credentials minted from them."""

from typing import Any

import click

from fleetform.cli.context import Session, verb
from fleetform.cli.options import DAYS, PAIR, SECONDS, given
from fleetform.cli.output import age
from fleetform.cli.role_binding import ROLES

FIELDS = {
    "/spec/roles": "--role",
    "/spec/endpoints": "--endpoint",
    "/spec/ttl_days": "--ttl",
    "/spec/labels": "--label",
    "/ttl_s": "--ttl",
    "/name": "--name",
}


@click.group()
def token() -> None:
    """Tokens, and the credentials minted from them."""


@verb(
    token,
    "create",
    click.option("--name", required=True, help="The token's name."),
    click.option("--role", "roles", multiple=True, required=True, help=f"{', '.join(ROLES)}. Repeat for several."),
    click.option(
        "--endpoint", "endpoints", multiple=True, help="An endpoint it may call; by default all of the project. Repeat for several."
    ),
    click.option("--ttl", "ttl_days", type=DAYS, help="The longest life of one credential, at most 90d. Default: 30d."),
    click.option("--label", "labels", type=PAIR, multiple=True, help="A label, key=value. Repeat for several."),
    examples=("token create --name rag-app --role inference.invoker --ttl 30d",),
    fields=FIELDS,
)
def create(session: Session, name: str, **options: Any) -> None:
    """Create a token. It holds no secret: `token mint` makes the key that an application uses."""
    spec = given(**options)
    if "labels" in spec:
        spec["labels"] = dict(spec["labels"])
    found = session.client.tokens.apply(name, create_only=True, **spec)
    session.out.done(f"token {name} created; `fleetform token mint {name}` makes a key", found)


@verb(
    token,
    "mint",
    click.argument("name"),
    click.option("--ttl", type=SECONDS, help="Its life, such as 1h; by default the token's --ttl."),
    examples=("token mint rag-app", "token mint rag-app --ttl 1h", "token mint rag-app > key && chmod 600 key"),
    fields=FIELDS,
)
def mint(session: Session, name: str, ttl: int | None) -> None:
    """Mint a credential and print its secret, this once."""
    credential = session.client.tokens.mint(name, ttl=ttl)
    click.echo(f"credential {credential.id} of {name}, valid until {credential.expires_at:%Y-%m-%d %H:%M} UTC", err=True)
    session.out.done(credential.secret, credential)


@verb(token, "list", examples=("token list",))
def list_(session: Session) -> None:
    """List the tokens with the number of their live credentials."""
    found = session.client.tokens.list().all()
    rows = [
        (
            t.metadata.name,
            t.spec.roles,
            t.spec.endpoints or "all",
            f"{t.spec.ttl_days or 30}d",
            len(t.status.credentials),
            age(t.metadata.created_at),
        )
        for t in found
    ]
    session.out.rows(("name", "roles", "endpoints", "ttl", "credentials", "age"), rows, found)


@verb(token, "get", click.argument("name"), examples=("token get rag-app",))
def get(session: Session, name: str) -> None:
    """Show a token and its live credentials, without their secrets."""
    found = session.client.tokens.get(name)
    facts: list[tuple[str, object]] = [
        ("name", found.metadata.name),
        ("roles", found.spec.roles),
        ("endpoints", found.spec.endpoints or "all"),
        ("ttl", f"{found.spec.ttl_days or 30}d"),
        *((f"condition {c.type}", f"{c.reason}: {c.message}") for c in found.status.conditions),
        *((f"credential {c.id}", f"until {c.expires_at:%Y-%m-%d %H:%M} UTC") for c in found.status.credentials),
    ]
    session.out.one(facts, found)


@verb(
    token,
    "revoke",
    click.argument("name"),
    click.argument("credential", required=False),
    click.option("--all", "everything", is_flag=True, help="Revoke every live credential of the token."),
    examples=("token revoke rag-app 5f0c2a9d1b7e4c33", "token revoke rag-app --all"),
)
def revoke(session: Session, name: str, credential: str | None, everything: bool) -> None:
    """Revoke a credential; the gateway refuses it within 5 s. `token get` lists the ids."""
    if (credential is None) != everything:
        raise click.UsageError("name one credential (`fleetform token get` lists them), or give --all")
    ids = [c.id for c in session.client.tokens.get(name).status.credentials] if credential is None else [credential]
    for id_ in ids:
        session.client.tokens.revoke(name, id_)
    session.out.done(f"{len(ids)} credential{'' if len(ids) == 1 else 's'} of {name} revoked")


@verb(token, "delete", click.argument("name"), examples=("token delete rag-app",))
def delete(session: Session, name: str) -> None:
    """Delete a token; all its credentials are revoked."""
    session.client.tokens.delete(name)
    session.out.done(f"token {name} deleted")
