"""`--watch`: a list or a resource that is drawn anew on a terminal, and told line by line as it changes in a pipe."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Sequence

import click
import msgspec

from fleetform.cli.context import Session
from fleetform.cli.output import Output, cells, table
from fleetform_sdk import APIConnectionError, InternalServerError

EVERY_S = 2.0
_TICKING = frozenset({"age"})
"""Columns that change by themselves: no news in a pipe."""

WATCH = click.option("--watch", is_flag=True, help="Draw it anew every 2 seconds; in a pipe, a line whenever one is new. Ctrl-C ends it.")


class Frame(Output):
    """What one look would print. lines: the cells of each; news: the same without columns that change by themselves."""

    def __init__(self) -> None:
        super().__init__("table")
        self.headings: Sequence[str] = ()
        self.lines: list[list[str]] = []
        self.news: list[tuple[str, ...]] = []

    def rows(self, headings: Sequence[str], rows: Iterable[Sequence[object]], resources: Sequence[msgspec.Struct]) -> None:
        self.headings = headings
        self.lines = [cells(row) for row in rows]
        kept = [index for index, heading in enumerate(headings) if heading not in _TICKING]
        self.news = [tuple(line[index] for index in kept) for line in self.lines]

    def one(self, facts: Iterable[tuple[str, object]], resource: msgspec.Struct) -> None:
        self.lines = [cells(fact) for fact in facts if fact[1] not in (None, "", (), [])]
        self.news = [tuple(line) for line in self.lines]


def watched(session: Session, watch: bool, draw: Callable[[Output], None]) -> None:
    """Have draw print once, or again and again until Ctrl-C. A server that is away for a while is waited for."""
    if not watch:
        draw(session.out)
        return
    if session.out.form == "json":
        raise click.UsageError("--watch draws a table; take --output json without it")
    draw(frame := Frame())
    with contextlib.suppress(KeyboardInterrupt):
        (_redrawn if sys.stdout.isatty() else _told)(frame, draw)


def _redrawn(first: Frame, draw: Callable[[Output], None]) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(table(first.headings, first.lines), auto_refresh=False, vertical_overflow="crop") as live:
        live.refresh()
        shown = first
        while True:
            time.sleep(EVERY_S)
            frame, away = _next(draw)
            shown = frame or shown
            drawn = table(shown.headings, shown.lines)
            live.update(Group(drawn, Text(away, style="dim")) if away else drawn, refresh=True)


def _told(first: Frame, draw: Callable[[Output], None]) -> None:
    frame: Frame | None = first
    known: set[tuple[str, ...]] = set()
    while True:
        if frame is not None:
            for line, news in zip(frame.lines, frame.news, strict=True):
                if news not in known:
                    click.echo("\t".join(line))
            sys.stdout.flush()
            known = set(frame.news)
        time.sleep(EVERY_S)
        frame, _ = _next(draw)


def _next(draw: Callable[[Output], None]) -> tuple[Frame | None, str]:
    """What is seen now; None, and why, while the server does not answer."""
    frame = Frame()
    try:
        draw(frame)
    except (APIConnectionError, InternalServerError) as error:
        return None, f"the server does not answer as it should; tried again every {EVERY_S:g} s ({error})"
    return frame, ""
