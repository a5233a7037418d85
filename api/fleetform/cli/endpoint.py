"""`fleetform endpoint`: create, change, watch and delete endpoints."""

import sys
from collections.abc import Mapping
from typing import Any

import click

from fleetform.cli import rollout, scaling
from fleetform.cli.context import Session, verb
from fleetform.cli.endpoint_spec import FIELDS, SCALAR_OPTIONS, SPLIT_OPTION, changed, created
from fleetform.cli.options import MODEL_REF, PAIR, SECONDS
from fleetform.cli.output import Output, age, span
from fleetform.cli.progress import shown
from fleetform.cli.watch import WATCH, watched
from fleetform_sdk import types

Variants = Mapping[str, types.VariantSpec | types.EffectiveVariant]
WAIT_OPTIONS = (
    click.option("--wait", is_flag=True, help="Wait until what was asked for serves, and show the progress."),
    click.option("--wait-timeout", type=SECONDS, default="30m", help="How long to wait. Default: 30m."),
)


@click.group()
def endpoint() -> None:
    """Create, change, watch and delete endpoints."""


@verb(
    endpoint,
    "create",
    click.option("--name", required=True, help="The endpoint's name, which clients send as `model`."),
    click.option("--model", type=MODEL_REF, required=True, help="What to serve, as model:version. The variant is named after the version."),
    click.option("--instance-type", required=True, help="The shape of each replica."),
    click.option("--engine-arg", "engine_args", type=PAIR, multiple=True, help="An engine argument, key=value. Repeat for several."),
    *SCALAR_OPTIONS,
    *WAIT_OPTIONS,
    examples=(
        "endpoint create --name acme-summarize-prod --model acme-summarizer:v1.4 --instance-type gpu-a10-1x \\",
        "    --min-replicas 2 --max-replicas 20 --target-concurrency 8 --timeout 30s --wait",
    ),
    fields=FIELDS,
)
def create(session: Session, name: str, wait: bool, wait_timeout: int, **options: Any) -> None:
    """Create an endpoint."""
    found = session.client.endpoints.apply(name, created(**options), create_only=True)
    _finish(session, found, "created", wait, wait_timeout)


@verb(
    endpoint,
    "update",
    click.option("--name", required=True, help="The endpoint's name."),
    SPLIT_OPTION,
    click.option("--instance-type", help="The shape of each replica."),
    click.option("--no-schedule", is_flag=True, help="Remove every schedule."),
    click.option("--remove-variant", "removed", multiple=True, help="A variant without traffic to take out. Repeat for several."),
    *SCALAR_OPTIONS,
    *WAIT_OPTIONS,
    examples=(
        "endpoint update --name acme-summarize-prod --target-concurrency 6",
        "endpoint update --name acme-summarize-prod --min-replicas 0 --max-replicas 4 --idle 60s",
        "endpoint update --name acme-summarize-prod --traffic-split 'v1.4=90,v1.5=10' --wait",
    ),
    fields=FIELDS,
)
def update(session: Session, name: str, wait: bool, wait_timeout: int, **options: Any) -> None:
    """Change an endpoint in place; what is not given stays as it is."""
    change = changed(**options)
    if change is None:
        raise click.UsageError("nothing to change: give at least one option, such as --traffic-split or --target-concurrency")
    found = session.client.endpoints.update(name, change)
    _finish(session, found, "updated", wait, wait_timeout)


@verb(endpoint, "list", WATCH, examples=("endpoint list", "inference endpoint list --output json"))
def list_(session: Session, watch: bool) -> None:
    """List the endpoints of the project."""

    def draw(out: Output) -> None:
        found = session.client.endpoints.list().all()
        rows = [
            (e.metadata.name, e.status.phase, _replicas(e), _traffic(e), e.spec.instance_type, age(e.metadata.created_at)) for e in found
        ]
        out.rows(("name", "phase", "ready", "traffic", "instance type", "age"), rows, found)

    watched(session, watch, draw)


@verb(
    endpoint,
    "get",
    click.argument("name"),
    WATCH,
    examples=("endpoint get acme-summarize-prod", "endpoint get acme-summarize-prod --watch"),
)
def get(session: Session, name: str, watch: bool) -> None:
    """Show an endpoint: what serves, what was asked for, and why the two differ."""

    def draw(out: Output) -> None:
        found = session.client.endpoints.get(name)
        out.one(_facts(found), found)

    watched(session, watch, draw)


def _facts(found: types.Endpoint) -> list[tuple[str, object]]:
    status = found.status
    facts: list[tuple[str, object]] = [
        ("name", found.metadata.name),
        ("phase", status.phase),
        ("url", status.url),
        ("model", status.model),
        ("instance type", found.spec.instance_type),
        ("replicas ready", _replicas(found) + _beyond(found)),
        *scaling.facts(found),
        ("wanted traffic", _serves(found.spec.variants)),
        ("live traffic", _serves(status.live.variants) if status.live else None),
        ("generation", f"{found.metadata.generation} (seen: {status.observed_generation})"),
        *((f"condition {c.type}", f"{'yes' if c.status else 'no'} {c.reason} {c.message}".rstrip()) for c in status.conditions),
    ]
    if status.rejected is not None:
        versions = f" ({', '.join(status.rejected.versions)})" if status.rejected.versions else ""
        facts += [("rejected", f"generation {status.rejected.generation}: {status.rejected.reason}{versions}")]
        facts += [("evidence", line) for line in status.rejected.evidence]
    return facts


@verb(
    endpoint,
    "wait",
    click.argument("name"),
    click.option("--wait-timeout", type=SECONDS, default="30m", help="How long to wait. Default: 30m."),
    examples=("endpoint wait acme-summarize-prod --wait-timeout 10m",),
)
def wait(session: Session, name: str, wait_timeout: int) -> None:
    """Wait until what was last asked for serves. Exit status 1: it will not, with the reason."""
    with shown(f"Waiting for {name}") as report:
        found = session.client.endpoints.wait_until_ready(name, timeout=wait_timeout, on_progress=report, on_rollout=report.rollout)
    session.out.done(f"endpoint {name} is ready", found)


@verb(
    endpoint,
    "delete",
    click.argument("name"),
    click.option("--wait", is_flag=True, help="Wait until its replicas are gone."),
    click.option("--wait-timeout", type=SECONDS, default="20m", help="How long to wait. Default: 20m."),
    examples=("endpoint delete acme-summarize-prod --wait",),
)
def delete(session: Session, name: str, wait: bool, wait_timeout: int) -> None:
    """Delete an endpoint; requests in flight are answered first."""
    session.client.endpoints.delete(name)
    if not wait:
        session.out.done(f"endpoint {name} is being deleted")
        return
    with shown(f"Deleting {name}") as report:
        session.client.endpoints.wait_until_deleted(name, timeout=wait_timeout, on_progress=report)
    session.out.done(f"endpoint {name} deleted")


@verb(endpoint, "events", click.argument("name"), WATCH, examples=("endpoint events acme-summarize-prod",))
def events(session: Session, name: str, watch: bool) -> None:
    """What happened to an endpoint."""

    def draw(out: Output) -> None:
        found = session.client.endpoints.events(name).all()
        if watch and not sys.stdout.isatty():
            found.reverse()  # lines that follow one another; a table has the newest on top, where it is not cut off
        rows = [(age(e.at), e.kind, e.reason, e.generation, e.replica_id, e.message) for e in found]
        out.rows(("age", "kind", "reason", "generation", "replica", "message"), rows, found)

    watched(session, watch, draw)


@verb(endpoint, "rollouts", click.argument("name"), WATCH, examples=("endpoint rollouts acme-summarize-prod --watch",))
def list_rollouts(session: Session, name: str, watch: bool) -> None:
    """How an endpoint's traffic moved: each step, and how the new version did beside the old one."""

    def draw(out: Output) -> None:
        found = session.client.endpoints.rollouts(name).all()
        out.rows(rollout.HEADINGS, [row for one in found for row in rollout.rows(one)], found)

    watched(session, watch, draw)


def _finish(session: Session, found: types.Endpoint, what: str, wait: bool, wait_timeout: int) -> None:
    name = found.metadata.name
    if not wait:
        session.out.done(f"endpoint {name} {what}; `fleetform endpoint wait {name}` tells when it serves", found)
        return
    with shown(f"Waiting for {name}") as report:
        found = session.client.endpoints.wait_until_ready(
            name, generation=found.metadata.generation, timeout=wait_timeout, on_progress=report, on_rollout=report.rollout
        )
    session.out.done(f"endpoint {name} {what} and ready at {found.status.url}", found)


def _replicas(found: types.Endpoint) -> str:
    return f"{found.status.replicas.ready}/{found.status.replicas.wanted}"


def _beyond(found: types.Endpoint) -> str:
    """What those are there for that are ready beyond the wanted ones."""
    status = found.status
    more = status.replicas.ready - status.replicas.wanted
    if more <= 0:
        return ""
    bake_s = 0 if status.effective is None or status.replicas.wanted == 0 else status.effective.bake_s
    if status.phase == "Updating" or any(c.reason == "ShiftingTraffic" for c in status.conditions):
        why = "until the traffic has moved"
    elif bake_s:
        why = f"kept warm for a way back, for {span(bake_s)} after the traffic has left (bake_s)"
    else:
        why = "on the way out"
    return f"; {more} more {why}"


def _traffic(found: types.Endpoint) -> str:
    """The split that serves, and the one that is wanted where that is another."""
    wanted = _split(_with_traffic(found.spec.variants))
    live = _split(_with_traffic(found.status.live.variants)) if found.status.live else ""
    return _split(found.spec.variants) if live == wanted else f"{live or 'none'} (wanted: {wanted})"


def _split(variants: Variants) -> str:
    return ",".join(f"{name}={_weight(variant)}" for name, variant in sorted(variants.items()))


def _with_traffic(variants: Variants) -> Variants:
    return {name: variant for name, variant in variants.items() if _weight(variant)}


def _serves(variants: Variants) -> list[str]:
    """Weights with what they are weights of, since a variant may be named after anything."""
    return [f"{name}={_weight(variant)} ({variant.model_version})" for name, variant in variants.items()]


def _weight(variant: types.VariantSpec | types.EffectiveVariant) -> int:
    return variant.weight if isinstance(variant.weight, int) else 100
