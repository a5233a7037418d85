"""What --wait shows: one line that changes on a terminal, one line per change in a pipe. On standard error, so that output stays clean."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click

from fleetform_sdk import types


class Report(Protocol):
    """Takes each new status of an endpoint."""

    def __call__(self, endpoint: types.Endpoint, /) -> None: ...


@contextmanager
def shown(what: str) -> Iterator[Report]:
    """Show the progress of an endpoint while the block runs. what: such as `Waiting for acme-prod`."""
    began = time.monotonic()
    if not sys.stderr.isatty():
        yield lambda endpoint: click.echo(f"{time.monotonic() - began:4.0f}s  {sentence(endpoint)}", err=True)
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as status:
        yield lambda endpoint: status.update(f"{what}: {sentence(endpoint)}".replace("[", r"\["))


def sentence(endpoint: types.Endpoint) -> str:
    """Where the endpoint stands: phase, replicas, and what it waits for."""
    status = endpoint.status
    parts = [status.phase, f"{status.replicas.ready}/{status.replicas.wanted} replicas ready"]
    for condition in status.conditions:
        waits = condition.type == "Progressing" and condition.status
        held_up = condition.type == "Admitted" and not condition.status
        in_trouble = condition.type == "Degraded" and condition.status
        if waits or held_up or in_trouble:
            parts.append(f"{condition.reason}: {condition.message}" if condition.message else condition.reason)
    return "; ".join(parts)
