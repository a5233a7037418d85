"""What `make generate` makes, and from what."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

import docs_diagrams
import docs_pages
import openapi
import provider
import sdk_models
import sdk_operations
import sdk_sync
from fleetform.errors import SetupError
from steps import ROOT, home

GENERATED = "python-sdk/fleetform_sdk/_generated"
SYNC = "python-sdk/fleetform_sdk/_sync"
GO_CLIENT = "provider-go-shim/internal/client/gen"
OAPI_CODEGEN = "github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen"
TFPLUGINDOCS = "github.com/hashicorp/terraform-plugin-docs/cmd/tfplugindocs"

GOLDEN_PLANS = "tests/planner/golden"
DRAWN_PAGES = ("docs/rollout.md", "docs/scaling.md", "docs/cold-start.md")
"""Written by people, with diagrams and tables that are made."""


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


def provider_client(into: Path) -> None:
    """The Go client of the Terraform provider, from openapi.yaml; its configuration is the provider's."""
    folder = into / GO_CLIENT
    folder.mkdir(parents=True)
    shutil.copy(ROOT / GO_CLIENT / "config.yaml", folder)
    command = [str(_go_tool(into, OAPI_CODEGEN)), "-config", "config.yaml", str(into / "openapi.yaml")]
    subprocess.run(command, cwd=folder, check=True)


def provider_docs(into: Path) -> None:
    """The provider's documentation as the registry shows it, from its schemas, templates and examples."""
    folder = into / "provider-go-shim"
    ignore = shutil.ignore_patterns("bin", "docs", "tools", "gen")
    shutil.copytree(ROOT / "provider-go-shim", folder, ignore=ignore, dirs_exist_ok=True)
    command = [str(_go_tool(into, TFPLUGINDOCS)), "generate", "--provider-name=fleetform", "--rendered-provider-name=Fleetform"]
    environ = {**os.environ, "PATH": f"{Path(_go()).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"tfplugindocs: {done.stderr or done.stdout}")


def docs(into: Path) -> None:
    """The pages of docs/ that are made from the code."""
    folder = into / "docs"
    folder.mkdir(exist_ok=True)
    (folder / "replica-life-cycle.md").write_text(docs_pages.life_of_a_replica())
    (folder / "command-line.md").write_text(docs_pages.command_line())
    for page in DRAWN_PAGES:
        Path(into, page).write_text(docs_diagrams.filled((ROOT / page).read_text()))


def golden_plans(into: Path) -> None:
    """The stories that the planner's tests tell."""
    folder = into / GOLDEN_PLANS
    folder.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "tests.planner.golden", str(folder)], cwd=ROOT, check=True)


def _go_tool(into: Path, package: str) -> Path:
    """A tool of the provider's tools module, built into a folder beside what is made."""
    folder = into / "bin"
    command = [_go(), "build", "-modfile=tools/go.mod", "-o", f"{folder}{os.sep}", package]
    subprocess.run(command, cwd=ROOT / "provider-go-shim", check=True)
    return folder / package.rpartition("/")[2]


def _go() -> str:
    return provider.go(home() / "logs" / "make-generate.log")


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
    Target("Go client", (GO_CLIENT,), provider_client),
    Target("Terraform provider's documentation", ("provider-go-shim/docs",), provider_docs),
    Target("Pages of docs/", ("docs/replica-life-cycle.md", "docs/command-line.md", *DRAWN_PAGES), docs),
    Target("Golden plans", (GOLDEN_PLANS,), golden_plans),
)
"""In the order they are made."""
