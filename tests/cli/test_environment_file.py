"""FLEETFORM_HOME/env: what a shell gets from it, and when its key has to be made anew."""

import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetform import credentials, settings
from fleetform.cli import environment_file, up
from fleetform.credentials import Claims
from fleetform.settings import Settings

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def ours(tmp_path: Path) -> Settings:
    home = tmp_path / "a home with spaces"
    home.mkdir()
    return settings.load({"FLEETFORM_HOME": str(home), "FLEETFORM_API_PORT": "1"})


def a_key(ours: Settings, lives: timedelta) -> str:
    key = credentials.load_or_create(ours.signing_key)
    begun, ends = int(NOW.timestamp()), int((NOW + lives).timestamp())
    return key.mint(
        Claims(iss="local", sub="token:system:admin", jti="0" * 16, project="system", roles=(), endpoints=("*",), iat=begun, exp=ends)
    )


def test_a_shell_that_sources_it_has_every_variable(ours: Settings) -> None:
    (ours.home / "terraform.rc").touch()
    environment_file.write(ours, "cd-key")
    assert stat.S_IMODE(environment_file.path(ours).stat().st_mode) == 0o600
    sourced = ["bash", "-c", f". '{environment_file.path(ours)}' && env"]
    shown = subprocess.run(sourced, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}).stdout.splitlines()
    assert {
        "FLEETFORM_BASE_URL=http://127.0.0.1:1",
        "FLEETFORM_TOKEN=cd-key",
        "FLEETFORM_PROJECT=quickstart",
        "OPENAI_BASE_URL=http://127.0.0.1:7080/v1",
        f"TF_CLI_CONFIG_FILE={ours.home}/terraform.rc",
    } <= set(shown)
    assert environment_file.read(ours)["FLEETFORM_TOKEN"] == "cd-key"


def test_without_a_mirror_terraform_is_left_as_it_is(ours: Settings) -> None:
    environment_file.write(ours, "cd-key")
    assert "TF_CLI_CONFIG_FILE" not in environment_file.read(ours)


@pytest.mark.parametrize(("lives", "made"), [(timedelta(days=6, hours=23), True), (timedelta(days=-1), True), (timedelta(days=8), False)])
def test_a_key_is_renewed_when_under_seven_days_are_left(ours: Settings, lives: timedelta, made: bool) -> None:
    environment_file.write(ours, a_key(ours, lives))
    assert up.key_must_be_made(ours, NOW) is made


@pytest.mark.parametrize("text", [None, "", "cd-nonsense", "cd-a.b.c"])
def test_what_is_not_a_key_is_replaced(ours: Settings, text: str | None) -> None:
    if text is not None:
        environment_file.write(ours, text)
    assert up.key_must_be_made(ours, NOW)
