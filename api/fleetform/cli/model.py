"""`fleetform model`: register, list, get and delete model versions."""

from typing import Any

import click

from fleetform.cli.context import Session, verb
from fleetform.cli.options import MODEL_REF, SECONDS, given
from fleetform.cli.output import age
from fleetform_sdk import types

FIELDS = {
    "/spec/artifact": "--artifact",
    "/spec/framework": "--framework",
    "/spec/runtime": "--runtime",
    "/spec/format": "--format",
    "/spec/task": "--task",
    "/spec/engine": "--engine",
    "/spec/engine_version": "--engine-version",
    "/spec/quantization": "--quantization",
    "/spec/parent": "--parent",
    "/spec/sha256": "--sha256",
    "/spec/allow_remote_code": "--allow-remote-code",
    "/model": "--name",
    "/version": "--version",
}


@click.group()
def model() -> None:
    """Register and list model versions."""


@verb(
    model,
    "register",
    click.option("--name", required=True, help="The model's name."),
    click.option("--version", required=True, help="The version's name, such as v1.4; it never changes its content."),
    click.option("--artifact", required=True, help="s3://bucket/path/ or file:///path, below one of the project's prefixes."),
    click.option(
        "--framework",
        required=True,
        help="pytorch, optionally with its version (pytorch2.5), which must not be newer than the host's torch.",
    ),
    click.option("--runtime", required=True, help="cuda12.6, rocm6.2 or cpu: what it was made for. It is recorded, not compared."),
    click.option("--format", help="safetensors or gguf; by default what the artifact is."),
    click.option("--task", help="generate or embed; by default what the artifact is for."),
    click.option("--engine", help="vllm (default), or a declared engine."),
    click.option("--engine-version", help="The version of vLLM that it needs, or its line: 0.32."),
    click.option("--quantization", help="How the weights are quantised, in the engine's words."),
    click.option("--parent", help="The version this one was made from, as model:version."),
    click.option("--sha256", help="The manifest digest that you expect."),
    click.option("--allow-remote-code", is_flag=True, default=None, help="Load code that the artifact carries (region administrators)."),
    click.option("--wait", is_flag=True, help="Wait until the artifact is verified."),
    click.option("--wait-timeout", type=SECONDS, default="30m", help="How long to wait. Default: 30m."),
    examples=(
        "model register --name acme-summarizer --version v1.4 --artifact s3://acme-models/summarizer-v1.4/ "
        "--framework pytorch --runtime cuda12.6",
    ),
    fields=FIELDS,
)
def register(session: Session, name: str, version: str, wait: bool, wait_timeout: int, **spec: Any) -> None:
    """Register a version of a model."""
    found = session.client.model_versions.apply(name, version, **given(**spec))
    if wait:
        found = session.client.model_versions.wait_until_verified(name, version, timeout=wait_timeout)
    session.out.done(f"{found.status.ref} {_state(found)}", found)


@verb(model, "list", examples=("model list", "model list --output json"))
def list_(session: Session) -> None:
    """List every version of every model."""
    found = session.client.model_versions.list().all()
    rows = [(m.status.ref, _state(m), m.status.format, _size(m), m.spec.artifact, age(m.metadata.created_at)) for m in found]
    session.out.rows(("ref", "state", "format", "size", "artifact", "age"), rows, found)


@verb(model, "get", click.argument("ref", type=MODEL_REF), examples=("model get acme-summarizer:v1.4",))
def get(session: Session, ref: tuple[str, str]) -> None:
    """Show a version with its digest and the outcome of its verification."""
    found = session.client.model_versions.get(*ref)
    verified = next((c for c in found.status.conditions if c.type == "Verified"), None)
    facts = [
        ("ref", found.status.ref),
        ("state", _state(found)),
        ("message", verified.message if verified else None),
        ("artifact", found.spec.artifact),
        ("framework", found.spec.framework),
        ("runtime", found.spec.runtime),
        ("engine", found.spec.engine or "vllm"),
        ("format", found.status.format),
        ("task", found.status.task),
        ("digest", found.status.digest),
        ("size", _size(found)),
        ("age", age(found.metadata.created_at)),
    ]
    session.out.one(facts, found)


@verb(model, "delete", click.argument("ref", type=MODEL_REF), examples=("model delete acme-summarizer:v1.4",))
def delete(session: Session, ref: tuple[str, str]) -> None:
    """Delete a version that no endpoint uses."""
    session.client.model_versions.delete(*ref)
    session.out.done(f"{ref[0]}:{ref[1]} deleted")


def _state(version: types.ModelVersion) -> str:
    """The reason of the Verified condition."""
    return next((str(c.reason) for c in version.status.conditions if c.type == "Verified"), "Verifying")


def _size(version: types.ModelVersion) -> str:
    return f"{version.status.size_bytes / 2**20:.0f} MiB" if version.status.size_bytes else ""
