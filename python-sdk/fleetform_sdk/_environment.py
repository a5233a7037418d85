"""What a client takes from the environment where it was not passed."""

import os
from collections.abc import Mapping

import httpx2

from fleetform_sdk._errors import ConfigurationError

BASE_URL = "FLEETFORM_BASE_URL"
TOKEN = "FLEETFORM_TOKEN"  # noqa: S105  # the name of a variable
PROJECT = "FLEETFORM_PROJECT"


def base_url(value: str | None) -> str:
    """The address of the control API without a final slash; ConfigurationError when there is none, or it is no URL."""
    found = required(value, BASE_URL, "base_url", os.environ).strip().rstrip("/")
    if not found.startswith(("http://", "https://")) or not _is_address(found):
        raise ConfigurationError(f"{found!r} is not an address: {BASE_URL} must be of the form http://host:port or https://host:port")
    return found


def _is_address(text: str) -> bool:
    """False also for a name and password in it, which would go out in the place of the token."""
    try:
        url = httpx2.URL(text)
        url.host.encode("idna")
    except (httpx2.InvalidURL, UnicodeError):
        return False
    return bool(url.host) and not url.userinfo and not url.query and not url.fragment


def token(value: str | None) -> str:
    """The token; ConfigurationError when there is none, or it cannot be sent in a header. The message never holds it."""
    found = required(value, TOKEN, "token", os.environ).strip()
    if not found.isascii() or not found.isprintable() or " " in found:
        raise ConfigurationError(f"{TOKEN} holds characters that no token has; was it copied in full?")
    return found


def project(value: str | None) -> str | None:
    """The default project, or None when every call is to name its own."""
    return value or os.environ.get(PROJECT) or None


def required(value: str | None, variable: str, argument: str, environ: Mapping[str, str]) -> str:
    """value, else the variable; ConfigurationError names both ways to set it."""
    found = value or environ.get(variable)
    if not found:
        raise ConfigurationError(f"{argument} is not set: pass {argument}=…, or set {variable}")
    return found
