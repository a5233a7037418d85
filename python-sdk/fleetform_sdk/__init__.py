"""Python client of the Fleetform control API.

client = Client()                    # FLEETFORM_BASE_URL, FLEETFORM_TOKEN, FLEETFORM_PROJECT
client.endpoints.apply("prod", spec, wait=True)

AsyncClient is the same with `await`. `types` holds the structs that the API answers with, `fields` the typed dictionaries of what
it is sent. Modules whose name begins with `_` are not part of the interface.
"""

from fleetform_sdk._async.client import AsyncClient
from fleetform_sdk._async.pages import AsyncPages
from fleetform_sdk._errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    FieldProblem,
    FleetformError,
    InternalServerError,
    InvalidRequest,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    RateLimitError,
    RolloutFailed,
    UnprocessableError,
    VerificationFailed,
    WaitTimeout,
)
from fleetform_sdk._generated import fields
from fleetform_sdk._generated import models as types
from fleetform_sdk._generated.models import Credential
from fleetform_sdk._splits import InvalidSplit, with_split
from fleetform_sdk._sync.client import Client
from fleetform_sdk._sync.pages import Pages
from fleetform_sdk._version import __version__

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncClient",
    "AsyncPages",
    "AuthenticationError",
    "BadRequestError",
    "Client",
    "ConfigurationError",
    "ConflictError",
    "Credential",
    "FieldProblem",
    "FleetformError",
    "InternalServerError",
    "InvalidRequest",
    "InvalidResponseError",
    "InvalidSplit",
    "NotFoundError",
    "Pages",
    "PermissionDeniedError",
    "PreconditionFailedError",
    "RateLimitError",
    "RolloutFailed",
    "UnprocessableError",
    "VerificationFailed",
    "WaitTimeout",
    "__version__",
    "fields",
    "types",
    "with_split",
]
