"""Pages of docs/ that are made from the code, so that they cannot say anything else: the life of a replica, the command line."""

import importlib
import itertools

import click

from fleetform.cli import COMMANDS
from fleetform.domain.replica import TRANSITIONS, FailureReason, ReplicaPhase
from fleetform.planner.backoff import LONGEST_S, delay_s

HEAD = "<!-- Made by `make generate`; do not edit. -->\n\n"
WIDTH = 110


def life_of_a_replica() -> str:
    """The table of transitions as a diagram, and the reasons for which a replica fails."""
    begins = f"    [*] --> {ReplicaPhase.PLACING}"
    arrows = [f"    {phase} --> {after}" for phase in ReplicaPhase for after in ReplicaPhase if after in TRANSITIONS[phase]]
    ends = [f"    {phase} --> [*]" for phase in ReplicaPhase if not TRANSITIONS[phase]]
    reasons = ", ".join(f"`{reason}`" for reason in FailureReason)
    return (
        f"{HEAD}# The life of a replica\n\n"
        "What may follow what (`api/fleetform/domain/replica.py`). Nothing else moves a replica from one phase to another, and the host\n"
        "never restarts an engine: the reconciler replaces the replica.\n\n"
        "```mermaid\nstateDiagram-v2\n" + "\n".join([begins, *arrows, *ends]) + "\n```\n\n"
        f"A replica fails for one of these reasons: {reasons}.\n\n"
        "A track whose replica has failed is started again after a pause that grows with its failures in a row\n"
        "(`api/fleetform/planner/backoff.py`); the loop uses the same pauses for a pass that failed.\n\n"
        f"{_pauses()}\n"
    )


def _pauses() -> str:
    """The table of pauses, up to the longest."""
    failures = next(number for number in itertools.count(1) if delay_s(number) == LONGEST_S)
    numbers = [*(str(number) for number in range(1, failures)), f"{failures} and more"]
    pauses = [str(delay_s(number)) for number in range(1, failures + 1)]
    return f"| failures | {' | '.join(numbers)} |\n|{'---|' * (failures + 1)}\n| pause in seconds | {' | '.join(pauses)} |"


def command_line() -> str:
    """The help of every command, as `fleetform … --help` shows it."""
    parts = [f"{HEAD}# The command line\n\nEvery command, as `--help` shows it. The client verbs read `FLEETFORM_BASE_URL`, "]
    parts.append("`FLEETFORM_TOKEN` and `FLEETFORM_PROJECT`.\nExit status: 0 done, 1 refused or failed with the reason, 2 wrong usage.\n")
    for name, entry in COMMANDS.items():
        module, _, attribute = entry.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        parts.append(f"\n## fleetform {name}\n")
        parts.extend(_help(path, leaf) for path, leaf in _leaves(f"fleetform {name}", command))
    return "".join(parts)


def _leaves(path: str, command: click.Command) -> list[tuple[str, click.Command]]:
    """The commands below a command that do something, with what is typed to reach them."""
    if not isinstance(command, click.Group):
        return [(path, command)]
    below = [leaf for name, each in command.commands.items() for leaf in _leaves(f"{path} {name}", each)]
    return [(path, command), *below] if command.invoke_without_command else below


def _help(path: str, command: click.Command) -> str:
    context = click.Context(command, info_name=path, terminal_width=WIDTH, max_content_width=WIDTH, help_option_names=["-h", "--help"])
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    return f"\n```\n{text}\n```\n"
