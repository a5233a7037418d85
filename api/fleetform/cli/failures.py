"""An error of the SDK as what a person needs: the reason, the option that is wrong, and the remedy."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click

from fleetform_sdk import (
    APIConnectionError,
    APIStatusError,
    ConfigurationError,
    FieldProblem,
    FleetformError,
    InvalidRequest,
    InvalidSplit,
    RolloutFailed,
)

REMEDIES = {
    "unauthenticated": "Is the token of this region and still valid? `make up` renews .fleetform/env; then `source .fleetform/env`.",
    "forbidden": "Ask an administrator of the project for the role: `fleetform role-binding set`.",
    "not-found": "See what is there with the `list` verb, and check --project.",
    "quota-exceeded": "Raise the quota (`fleetform quota set`), or lower the replicas of a holder.",
    "immutable": "Register a new version instead.",
    "protected": "Take the protection off first: `fleetform endpoint update --name NAME --no-deletion-protection`.",
    "stale": "Somebody else changed it in between, or it exists already; look at it and try again.",
    "unavailable": "The server lost its database; try again in a moment.",
    "rate-limited": "Try again in a moment.",
}


class Refused(click.ClickException):
    """Exit status 1: refused, or failed with the reason."""

    exit_code = 1


@contextmanager
def told(ctx: click.Context, fields: Mapping[str, str]) -> Iterator[None]:
    """Turn what the SDK raises into click's errors. fields: JSON pointer → option."""
    try:
        yield
    except (ConfigurationError, InvalidRequest, InvalidSplit) as error:
        hint = " (`source .fleetform/env` sets it)" if isinstance(error, ConfigurationError) else ""
        raise click.UsageError(f"{error}{hint}", ctx) from error
    except APIStatusError as error:
        raise Refused(_refusal(error, fields)) from error
    except APIConnectionError as error:
        raise Refused(f"{error}\nIs it running? `fleetform status` tells, `fleetform up` starts it on this machine.") from error
    except RolloutFailed as error:
        again = f"fleetform endpoint update --name {error.endpoint.metadata.name} --retry TEXT"
        raise Refused(f"{error}\nChange the spec, or try the same again with any new text: `{again}`.") from error
    except FleetformError as error:
        raise Refused(str(error)) from error


def _refusal(error: APIStatusError, fields: Mapping[str, str]) -> str:
    lines = [_field(problem, fields) for problem in error.errors] or [error.detail or error.title or str(error)]
    for name, value in error.extensions.items():
        if value not in (None, "", [], {}):
            lines.append(f"  {name}: {_listed(value)}")
    remedy = REMEDIES.get(error.kind)
    if remedy:
        lines.append(remedy)
    if error.status_code >= 500 and error.request_id:
        lines.append(f"The server's log has more under request {error.request_id}.")
    return "\n".join(lines)


def _field(problem: FieldProblem, fields: Mapping[str, str]) -> str:
    """`--min-replicas: must be …`, with the pointer where no option sets the field."""
    fitting = [pointer for pointer in fields if problem.pointer == pointer or problem.pointer.startswith(f"{pointer}/")]
    if not fitting:
        return f"{problem.pointer or 'request'}: {problem.detail}"
    return f"{fields[max(fitting, key=len)]}: {problem.detail}"


def _listed(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_listed(item) for item in value)
    if isinstance(value, dict):
        return " ".join(f"{key}={_listed(item)}" for key, item in value.items())
    return str(value)
