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
        self._said = ""

    def __call__(self, endpoint: types.Endpoint, /) -> None:
        self._endpoint = endpoint
        before, self._said = self._said, sentence(endpoint, steps=not self._is_moving())
        if self._said != before:
            self._show(self._said)

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
        if self._rollout is None or not self._is_moving():
            return sentence(self._endpoint)
        return f"{sentence(self._endpoint, steps=False)}; {rollouts.sentence(self._endpoint, self._rollout)}"

    def _is_moving(self) -> bool:
        return self._rollout is not None and self._rollout.phase == "Running" and bool(self._rollout.old)


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


def sentence(endpoint: types.Endpoint, *, steps: bool = True) -> str:
    """Where the endpoint stands: phase, replicas, and what it waits for. steps False: its rollout's step is told elsewhere."""
    status = endpoint.status
    parts = [status.phase, f"{status.replicas.ready}/{status.replicas.wanted} replicas ready"]
    for condition in status.conditions:
        waits = condition.type == "Progressing" and condition.status
        held_up = condition.type == "Admitted" and not condition.status
        in_trouble = condition.type == "Degraded" and condition.status
        if waits and not steps and condition.message.startswith("step "):
            continue
        if waits or held_up or in_trouble:
            parts.append(f"{condition.reason}: {condition.message}" if condition.message else condition.reason)
    return "; ".join(parts)
