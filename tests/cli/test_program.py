"""The program itself: laziness, the umbrella's word, help, exit statuses."""

import importlib
import subprocess
import sys
from pathlib import Path

import click
import pytest

from fleetform.cli import COMMANDS
from tests.cli.conftest import Shell
from tests.sdk import bodies

CLIENT_VERBS = ("model", "endpoint", "replicas", "logs", "token", "quota", "project", "role-binding", "instance-type", "engine")


def test_help_lists_every_command_and_imports_none() -> None:
    code = """
import sys
from fleetform.cli import main
sys.argv = ["fleetform", "--help"]
try:
    main()
finally:
    assert not {"fleetform_sdk", "httpx2", "msgspec", "rich", "litestar"} & set(sys.modules), sorted(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for name, entry in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert entry.summary.split(";")[0] in " ".join(done.stdout.split())


@pytest.mark.parametrize("verb", ["fleetcheck", "admin-token"])
def test_what_works_on_the_servers_machine_says_so_elsewhere(tmp_path: Path, verb: str) -> None:
    command = [str(Path(sys.executable).with_name("fleetform")), verb]
    done = subprocess.run(command, env={"FLEETFORM_HOME": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"there is no Fleetform in {tmp_path}: set FLEETFORM_HOME" in done.stderr


def test_the_host_program_carries_no_client() -> None:
    code = """
import sys, importlib
importlib.import_module("fleetform.cli.host")
assert not {"fleetform_sdk", "rich", "litestar", "piccolo", "boto3", "vllm", "ray"} & set(sys.modules), sorted(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_entry_is_a_command(name: str) -> None:
    module, _, attribute = COMMANDS[name].target.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert command.name == name


def leaves(name: str) -> list[tuple[str, click.Command]]:
    module, _, attribute = COMMANDS[name].target.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    if isinstance(command, click.Group):
        return [(f"{name} {verb}", leaf) for verb, leaf in command.commands.items()]
    return [(name, command)]


@pytest.mark.parametrize("name", CLIENT_VERBS)
def test_each_client_verb_has_the_shared_options_and_examples(name: str) -> None:
    for path, command in leaves(name):
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--project", "--output"} <= options, path
        assert command.help is not None
        assert f"fleetform {path}" in command.help.replace("fleetform inference", "fleetform"), path
        assert all(not isinstance(p, click.Option) or p.help for p in command.params), path


def test_the_umbrellas_word_is_accepted(shell: Shell) -> None:
    shell.api.on("GET", "/v1/projects/acme/endpoints", (200, bodies.page(bodies.endpoint())))
    assert shell("inference", "endpoint", "list").stdout == shell("endpoint", "list").stdout


def test_a_wrong_word_is_wrong_usage_and_the_nearest_right_one_is_named(shell: Shell) -> None:
    assert "Did you mean 'endpoint'?" in shell("endpont", "list", status=2).stderr


@pytest.mark.parametrize("variable", ["FLEETFORM_BASE_URL", "FLEETFORM_TOKEN", "FLEETFORM_PROJECT"])
def test_a_missing_variable_is_wrong_usage_and_named(shell: Shell, variable: str) -> None:
    shell.variables[variable] = None
    stderr = shell("endpoint", "list", status=2).stderr
    assert variable in stderr
    assert "source .fleetform/env" in stderr
    assert shell.api.requests == []


def test_the_project_may_be_typed(shell: Shell) -> None:
    shell.api.on("GET", "/v1/projects/other/endpoints", (200, bodies.page()))
    shell("endpoint", "list", "--project", "other")
    assert shell.api.asked() == ["GET /v1/projects/other/endpoints"]
