"""`fleetform replicas`: the replicas of an endpoint."""

from collections.abc import Iterable
from datetime import UTC, datetime

import click

from fleetform.cli.context import Session, verb
from fleetform.cli.output import Output, span
from fleetform.cli.watch import WATCH, watched
from fleetform_sdk import types

DEVICE_SHOWN = 12
"""Of a device's UUID: enough to tell it from the others of a machine."""
HEADINGS = (
    *("id", "variant", "model version", "phase", "host", "age", "restarts", "in flight", "kv use", "memory"),
    *("device", "start", "reason", "message"),
)

standalone = click.Group()


@verb(
    standalone,
    "replicas",
    click.option("--endpoint", required=True, help="The endpoint's name."),
    WATCH,
    examples=("replicas --endpoint acme-summarize-prod", "replicas --endpoint acme-summarize-prod --watch"),
)
def replicas(session: Session, endpoint: str, watch: bool) -> None:
    """The replicas of an endpoint: what runs where, how busy it is, how its start went, and why one is not ready."""

    def draw(out: Output) -> None:
        found = session.client.endpoints.replicas(endpoint).all()
        out.rows(HEADINGS, [_row(replica) for replica in found], found)

    watched(session, watch, draw)


def _row(r: types.ReplicaView) -> tuple[object, ...]:
    kv_use = None if r.kv_usage is None else f"{r.kv_usage:.0%}"
    memory = None if r.memory_mib is None else f"{r.memory_mib} MiB"
    devices = [device[:DEVICE_SHOWN] for device in r.devices]
    what = (r.id, r.variant, r.model_version, r.phase, r.host, span(r.age_s))
    return (*what, r.restarts, r.in_flight, kv_use, memory, devices, start(r.phases), r.reason, r.message)


def start(phases: Iterable[types.Phase], now: datetime | None = None) -> str:
    """How long each phase of a start took, as in `fetch 1.2s load 3.4s`; the one that runs has dots, or how much of it is done."""
    return " ".join(_phase(phase, now or datetime.now(UTC)) for phase in phases)


def _phase(phase: types.Phase, now: datetime) -> str:
    seconds = max(0.0, ((phase.ended_at or now) - phase.started_at).total_seconds())
    told = f"{seconds:.1f}s" if seconds < 60 else span(round(seconds))
    if phase.ended_at is not None:
        return f"{phase.name} {told}"
    return f"{phase.name} {phase.done / phase.total:.0%}" if phase.done is not None and phase.total else f"{phase.name} {told}…"
