"""`fleetform engine`: engines that are started by a command of their own."""

from typing import Any

import click

from fleetform.cli.context import Session, verb
from fleetform.cli.options import given

FIELDS = {
    "/spec/argv": "COMMAND",
    "/spec/listen": "--listen",
    "/spec/health_path": "--health-path",
    "/spec/routes": "--routes",
    "/name": "--name",
}


@click.group()
def engine() -> None:
    """Engines that are started by a command of their own."""


@verb(
    engine,
    "set",
    click.option("--name", required=True, help="Its name, which a model version's --engine takes."),
    click.option("--listen", help="socket (default) or port."),
    click.option("--health-path", help="The path that answers 200 when it is ready. Default: /health."),
    click.option("--routes", help="openai (default), or raw for an engine that does not speak OpenAI's."),
    click.argument("command", nargs=-1, required=True),
    examples=("engine set --name llama --listen port -- llama-server --model {model_dir}/model.gguf --port {port} --alias {served_name}",),
    fields=FIELDS,
)
def set_(session: Session, name: str, command: tuple[str, ...], **spec: Any) -> None:
    """Declare or replace an engine (region administrators). COMMAND is its program and arguments, after `--`.

    In it {socket} or {port}, {model_dir}, {served_name}, {instance} and {context_length} are filled in. A tenant never brings a command.
    """
    found = session.client.engines.apply(name, argv=list(command), **given(**spec))
    session.out.done(f"engine {name} set", found)


@verb(engine, "list", examples=("engine list",))
def list_(session: Session) -> None:
    """List the declared engines; vllm is built in."""
    found = session.client.engines.list().all()
    rows = [(e.metadata.name, e.spec.listen, e.spec.health_path, e.spec.routes, " ".join(e.spec.argv)) for e in found]
    session.out.rows(("name", "listen", "health path", "routes", "command"), rows, found)


@verb(engine, "delete", click.argument("name"), examples=("engine delete llama",))
def delete(session: Session, name: str) -> None:
    """Delete an engine that no model version names (region administrators)."""
    session.client.engines.delete(name)
    session.out.done(f"engine {name} deleted")
