"""One call of the control API as data. The generated layer makes calls; the transports send them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from fleetform_sdk._errors import InvalidRequest

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T_co]):
    """operation: its id in the contract. path: filled in and escaped. query, headers: only what was given.

    body: JSON-encodable, or None for no body. response: what the body of a good answer is decoded into (`str`: its text as it
    is; None: there is none). An answer without a body is None.
    """

    operation: str
    method: str
    path: str
    response: Any
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None


@dataclass(frozen=True, kw_only=True)
class Answer(Generic[T_co]):
    """A good answer. etag is None where the server sent none; content is the body as it came."""

    value: T_co
    status_code: int
    etag: str | None
    content: bytes


def segment(value: str) -> str:
    """value as one path segment; a `/` or `..` in it cannot reach another resource. InvalidRequest: it cannot be one."""
    if not value:
        raise InvalidRequest("a name is empty")
    try:
        escaped = quote(value, safe="")
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"the name {value!r} is not Unicode") from error
    return escaped.replace(".", "%2E") if set(escaped) == {"."} else escaped


def encoded(call: Call[Any]) -> bytes | None:
    """The body of call as JSON; None: it has none. InvalidRequest: it holds what JSON cannot."""
    if call.body is None:
        return None
    try:
        return msgspec.json.encode(call.body)
    except (UnicodeEncodeError, OverflowError) as error:
        raise InvalidRequest(f"{call.operation}: cannot be sent as JSON: {error}") from error


def given(**values: str | int | None) -> dict[str, str]:
    """Those of values that are not None, as text."""
    return {name: str(value) for name, value in values.items() if value is not None}
