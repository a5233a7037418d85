"""What a verb prints: tables on a terminal, tab-separated lines in a pipe, JSON when asked."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
import msgspec

if TYPE_CHECKING:
    from rich.table import Table


class Output:
    """Prints resources. form: `table` or `json`."""

    def __init__(self, form: str) -> None:
        self.form = form

    def rows(self, headings: Sequence[str], rows: Iterable[Sequence[object]], resources: Sequence[msgspec.Struct]) -> None:
        """A list. rows: one per resource, as headings say; resources: what JSON shows."""
        if self.form == "json":
            self.json(resources)
        elif sys.stdout.isatty():
            from rich.console import Console

            Console().print(table(headings, [cells(row) for row in rows]))
        else:
            for row in rows:
                click.echo("\t".join(cells(row)))

    def one(self, facts: Iterable[tuple[str, object]], resource: msgspec.Struct) -> None:
        """One resource as name and value. Facts without a value are left out."""
        if self.form == "json":
            self.json(resource)
            return
        shown = [(name, _text(value)) for name, value in facts if value not in (None, "", (), [])]
        width = max((len(name) for name, _ in shown), default=0) if sys.stdout.isatty() else 0
        for name, value in shown:
            click.echo(f"{name:<{width}}  {value}" if width else f"{name}\t{value}")

    def done(self, sentence: str, resource: msgspec.Struct | None = None) -> None:
        """What was done; JSON shows the resource, and nothing when there is none."""
        if self.form != "json":
            click.echo(sentence)
        elif resource is not None:
            self.json(resource)

    def json(self, value: object) -> None:
        """value as the API has it."""
        click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def age(at: datetime | None, now: datetime | None = None) -> str:
    """How long ago, in the largest unit: `12s`, `4m`, `3h`, `8d`."""
    if at is None:
        return ""
    return span(int(((now or datetime.now(UTC)) - at).total_seconds()))


def span(seconds: int) -> str:
    """A length of time in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{max(seconds, 0)}s"


def cells(row: Iterable[object]) -> list[str]:
    """A row as text."""
    return [_text(cell) for cell in row]


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> "Table":
    """A table for a terminal; without headings, its rows in columns. A column that is empty in every row is left out."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold", show_header=bool(headings))
    widest = max((len(row) for row in (headings, *rows)), default=0)
    kept = [index for index in range(widest) if not rows or any(row[index] for row in rows)]
    for index in kept:
        drawn.add_column(headings[index].upper() if headings else "", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(row[index]) for index in kept))
    return drawn


def _text(cell: object) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if cell is None or cell is msgspec.UNSET:
        return ""
    if isinstance(cell, (list, tuple)):
        return ",".join(_text(item) for item in cell)
    return str(cell).replace("\t", " ").replace("\n", " ")
