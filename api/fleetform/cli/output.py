"""What a verb prints: tables on a terminal, tab-separated lines in a pipe, JSON when asked."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import click
import msgspec


class Output:
    """Prints resources. form: `table` or `json`."""

    def __init__(self, form: str) -> None:
        self.form = form

    def rows(self, headings: Sequence[str], rows: Iterable[Sequence[object]], resources: Sequence[msgspec.Struct]) -> None:
        """A list. rows: one per resource, as headings say; resources: what JSON shows."""
        if self.form == "json":
            self.json(resources)
        elif sys.stdout.isatty():
            _table(headings, [[_text(cell) for cell in row] for row in rows])
        else:
            for row in rows:
                click.echo("\t".join(_text(cell) for cell in row))

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


def _text(cell: object) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if cell is None or cell is msgspec.UNSET:
        return ""
    if isinstance(cell, (list, tuple)):
        return ",".join(_text(item) for item in cell)
    return str(cell).replace("\t", " ").replace("\n", " ")


def _table(headings: Sequence[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading.upper(), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
