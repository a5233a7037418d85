"""FLEETFORM_HOME/env (0600): what a shell sources to speak to this Fleetform. It holds the region administrator's key."""

import os
import shlex
from datetime import datetime, timedelta
from pathlib import Path

import jwt

from fleetform.credentials import PREFIX
from fleetform.host import records
from fleetform.settings import Settings

DEFAULT_PROJECT = "quickstart"
RENEW_BEFORE = timedelta(days=7)


def path(settings: Settings) -> Path:
    """Where the file is."""
    return settings.home / "env"


def write(settings: Settings, key: str) -> None:
    """Write the file anew, keeping the project it names."""
    variables = {
        "FLEETFORM_BASE_URL": settings.api_url,
        "FLEETFORM_TOKEN": key,
        "FLEETFORM_PROJECT": read(settings).get("FLEETFORM_PROJECT") or os.environ.get("FLEETFORM_PROJECT") or DEFAULT_PROJECT,
        "OPENAI_BASE_URL": settings.gateway_url,
    }
    cli_config = settings.home / "terraform.rc"
    if cli_config.exists():
        variables["TF_CLI_CONFIG_FILE"] = str(cli_config)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    head = "# Written by `fleetform up`; source it. The token is a region administrator's: keep it to yourself."
    records.write(path(settings), "\n".join([head, *lines, ""]).encode())


def read(settings: Settings) -> dict[str, str]:
    """The variables in the file; empty when there is none."""
    try:
        words = shlex.split(path(settings).read_text(), comments=True)
    except OSError:
        return {}
    return dict(word.split("=", 1) for word in words if "=" in word)


def expires_at(key: str) -> datetime | None:
    """When the key ends, as it says itself; None when it is not a key. Its signature is not checked here."""
    try:
        claims = jwt.decode(key.removeprefix(PREFIX), options={"verify_signature": False})
        return datetime.fromtimestamp(claims["exp"]).astimezone()
    except (jwt.PyJWTError, KeyError, TypeError, ValueError):
        return None
