"""WHAT PEOPLE TYPE: client verbs on the SDK; up, down, status, server and host start the programs.

A command's module is imported only when that command runs, so that `fleetform host` carries no HTTP client and
`fleetform --help` is quick. A new command is one module with a click command, and one line in COMMANDS.

lazy.py      the group that imports on demand
context.py   what every client verb shares: --project, --output, the client, exit statuses
failures.py  an error of the SDK as a sentence, with the option that is wrong and the remedy
output.py    tables for a terminal, plain lines in a pipe, JSON
progress.py  what --wait shows; watch.py what --watch does
options.py   option types: durations, splits, key=value
endpoint_spec.py   options of `fleetform endpoint` → its spec; rollout.py and scaling.py how these two are shown
programs.py, preflight.py, supervision.py, environment_file.py   what up, down and status share
model.py, endpoint.py, replicas.py, …   one module per command
"""

import sys
from typing import NamedTuple

from fleetform.errors import AppError


class Entry(NamedTuple):
    """target: `module:attribute` of a click command. summary: its line in `fleetform --help`, where nothing is imported."""

    target: str
    summary: str


COMMANDS: dict[str, Entry] = {
    "up": Entry("fleetform.cli.up:up", "Start Fleetform on this machine"),
    "down": Entry("fleetform.cli.down:down", "Stop what `up` started; data is kept"),
    "status": Entry("fleetform.cli.status:status", "What runs on this machine"),
    "server": Entry("fleetform.cli.server:server", "Run the control API and the reconciler"),
    "host": Entry("fleetform.cli.host:host", "Run the host process of this machine"),
    "fleetcheck": Entry("fleetform.cli.fleetcheck:fleetcheck", "Whether rows, engines and routes agree (on the server's machine)"),
    "admin-token": Entry("fleetform.cli.admin_token:admin_token", "Make a region administrator's token (on the server's machine)"),
    "model": Entry("fleetform.cli.model:model", "Register and list model versions"),
    "endpoint": Entry("fleetform.cli.endpoint:endpoint", "Create, change, watch and delete endpoints"),
    "replicas": Entry("fleetform.cli.replicas:replicas", "The replicas of an endpoint"),
    "logs": Entry("fleetform.cli.logs:logs", "The last lines of a replica's engine"),
    "token": Entry("fleetform.cli.token:token", "Tokens, and the credentials minted from them"),
    "quota": Entry("fleetform.cli.quota:quota", "How many replicas a project may run"),
    "project": Entry("fleetform.cli.project:project", "Projects and where their artifacts may lie"),
    "role-binding": Entry("fleetform.cli.role_binding:role_binding", "Who holds which role in a project"),
    "instance-type": Entry("fleetform.cli.instance_type:instance_type", "The shapes a replica can take"),
    "engine": Entry("fleetform.cli.engine:engine", "Engines that are started by a command of their own"),
}

UMBRELLA = "inference"
"""A leading word that is accepted and dropped, so that an umbrella command can hand its words over unchanged."""


def main() -> None:
    """The `fleetform` program. Exit status: 0 done, 1 refused or failed with the reason, 2 wrong usage."""
    from fleetform.cli.lazy import program

    try:
        program(COMMANDS).main(args=words_of(sys.argv[1:]), prog_name="fleetform")
    except AppError as error:
        print(f"Error: {error.message}", file=sys.stderr)
        sys.exit(1)


def words_of(argv: list[str]) -> list[str]:
    """argv without the umbrella's word."""
    return argv[1:] if argv[:1] == [UMBRELLA] else argv
