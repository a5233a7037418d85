"""What every client verb shares: --project and --output, the client, and how errors end."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click
import httpx2

from fleetform.cli.failures import told
from fleetform.cli.output import Output
from fleetform_sdk import Client

EXAMPLES = "\n\n\b\nExamples:\n"


@dataclass(frozen=True)
class Session:
    """One verb's run: the client to speak through, and how to print."""

    client: Client
    out: Output


def verb(
    group: click.Group,
    name: str,
    *parameters: Callable[[Any], Any],
    examples: tuple[str, ...],
    fields: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., None]], click.Command]:
    """Register a function of (session, **options) as a client verb of group.

    examples: what follows `fleetform`; a line that begins with a space goes on with the one before. parameters: click
    decorators in the order of the help. fields: JSON pointer → the option that sets it, so that an error of the API names what
    was typed; the longest pointer that fits is taken.
    """

    def decorate(function: Callable[..., None]) -> click.Command:
        command = _running(function, {"/project": "--project", **(fields or {})})
        shared = (
            click.option("--project", help="The project; by default FLEETFORM_PROJECT."),
            click.option("--output", type=click.Choice(["table", "json"]), default="table", help="Default: table."),
        )
        for decorate_with in reversed((*parameters, *shared)):
            command = decorate_with(command)
        lines = (f"    {line}" if line.startswith(" ") else f"  fleetform {line}" for line in examples)
        text = (function.__doc__ or "") + EXAMPLES + "\n".join(lines)
        return group.command(name, help=text)(command)

    return decorate


def _running(function: Callable[..., None], fields: Mapping[str, str]) -> Callable[..., None]:
    @click.pass_context
    @functools.wraps(function)
    def run(ctx: click.Context, /, project: str | None, output: str, **options: Any) -> None:
        if project == "":  # such as an unset variable of a script: not the project of the environment is meant
            raise click.BadParameter("is empty", ctx, param_hint="--project")
        http = ctx.obj if isinstance(ctx.obj, httpx2.Client) else None
        with told(ctx, fields), Client(project=project, http_client=http) as client:
            function(Session(client, Output(output)), **options)

    return run
