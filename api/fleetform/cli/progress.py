"""What --wait shows: one line that changes on a terminal, one line per change in a pipe. On standard error, so that output stays clean."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from fleetform.cli import rollout as rollouts
from fleetform_sdk import types


class Progress:
    """Takes each new status of an endpoint, and each new word about its rollout. show: called with what is worth a line of its own."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._endpoint: types.Endpoint | None = None
        self._rollout: types.Rollout | None = None

    def __call__(self, endpoint: types.Endpoint, /) -> None:
        self._endpoint = endpoint
        self._show(sentence(endpoint))

    def rollout(self, endpoint: types.Endpoint, rollout: types.Rollout, /) -> None:
        """A step was entered or judged, which is told, or a held step has new figures, which a terminal alone shows."""
        news = _turns(rollout) != _turns(self._rollout) and bool(rollout.old)
        self._endpoint, self._rollout = endpoint, rollout
        if news:
            self._show(rollouts.sentence(endpoint, rollout))

    def sentence(self) -> str:
        """Where the endpoint stands now; what is left of a hold is counted from the clock."""
        if self._endpoint is None:
            return ""
        told = sentence(self._endpoint)
        if self._rollout is None or self._rollout.phase != "Running" or not self._rollout.old:
            return told
        return f"{told}; {rollouts.sentence(self._endpoint, self._rollout)}"


def _turns(rollout: types.Rollout | None) -> list[tuple[int, str, bool]]:
    steps = [] if rollout is None else rollout.steps
    return [(step.percent, step.outcome, step.started_at is None) for step in steps]


@contextmanager
def shown(what: str) -> Iterator[Progress]:
    """Show the progress of an endpoint while the block runs. what: such as `Waiting for acme-prod`."""
    if not sys.stderr.isatty():
        began = time.monotonic()
        yield Progress(lambda said: click.echo(f"{time.monotonic() - began:4.0f}s  {said}", err=True))
        return
    from rich.console import Console
    from rich.text import Text

    class Line:
        """Drawn anew many times a second, so that a hold is seen to run down."""

        def __rich__(self) -> Text:
            said = progress.sentence()
            return Text(f"{what}: {said}" if said else what)

    progress = Progress(lambda said: None)
    with Console(stderr=True).status(Line()):
        yield progress


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
