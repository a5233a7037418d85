"""A click group that imports a command when it is run, not when it is listed."""

import difflib
import importlib
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fleetform.cli import Entry

EPILOG = "The client verbs read FLEETFORM_BASE_URL, FLEETFORM_TOKEN and FLEETFORM_PROJECT; `make up` writes them to .fleetform/env."


def program(commands: "dict[str, Entry]") -> click.Group:
    """The `fleetform` group over a table of commands."""
    import fleetform

    group = LazyGroup(
        commands,
        name="fleetform",
        help="GPU hosts become OpenAI-compatible endpoints.",
        epilog=EPILOG,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    )
    return click.version_option(fleetform.__version__, prog_name="fleetform")(group)


class LazyGroup(click.Group):
    """A group over a table: a name that is not in it is answered with the nearest one that is."""

    def __init__(self, table: "dict[str, Entry]", **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]  # click's own keyword arguments, passed through
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None when the table does not have it."""
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command), f"{entry.target} is not a click command"
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but a wrong name is told with the nearest right one."""
        if args and args[0] not in self.table and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.table, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands from the table's own summaries, so that help imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self.table.items()])
