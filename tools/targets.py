"""What `make generate` makes, and from what."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

import openapi
import sdk_models
import sdk_operations
import sdk_sync
from steps import ROOT

GENERATED = "python-sdk/fleetform_sdk/_generated"
SYNC = "python-sdk/fleetform_sdk/_sync"


class Target(NamedTuple):
    """name: for people. paths: the files and folders that are made, and nothing else stands in. make: writes them below a root."""

    name: str
    paths: tuple[str, ...]
    make: Callable[[Path], None]


def contract(into: Path) -> None:
    """openapi.yaml, from the routes."""
    (into / "openapi.yaml").write_text(openapi.text())


def sdk(into: Path) -> None:
    """The Python SDK's types and calls, from openapi.yaml, and its synchronous client, from the asynchronous one."""
    spec: dict[str, Any] = yaml.safe_load((into / "openapi.yaml").read_text())
    generated, sync = into / GENERATED, into / SYNC
    for folder in (generated, sync):
        folder.mkdir(parents=True)
    (generated / "__init__.py").write_text('"""Made from openapi.yaml by `make generate`: types and calls. Not part of the interface."""\n')
    (generated / "models.py").write_text(sdk_models.models(spec))
    (generated / "fields.py").write_text(sdk_models.fields(spec))
    (generated / "operations.py").write_text(sdk_operations.operations(spec))
    for name, text in sdk_sync.synchronous(ROOT / "python-sdk" / "fleetform_sdk" / "_async"):
        (sync / name).write_text(text)
    _tidy(into / "python-sdk")


def _tidy(folder: Path) -> None:
    """Sort imports, drop unused ones, format: as `make check` wants every other file."""
    ruff = str(Path(sys.executable).with_name("ruff"))
    options = ["--isolated", "--line-length=140", "--target-version=py311", "--quiet", "--no-cache", str(folder)]
    ours = 'lint.isort.known-first-party=["fleetform_sdk"]'
    subprocess.run([ruff, "check", "--select=I,F401", "--fix", "--config", ours, *options], check=True)
    subprocess.run([ruff, "format", *options], check=True)


ALL: tuple[Target, ...] = (
    Target("openapi.yaml", ("openapi.yaml",), contract),
    Target("Python SDK", (GENERATED, SYNC), sdk),
)
"""In the order they are made."""
