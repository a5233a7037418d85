"""Reading bodies and preconditions, answering with entity tags: what every controller needs of HTTP."""

import re
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response

from fleetform.domain.base import Request as Body
from fleetform.domain.decode import decode
from fleetform.errors import Malformed, UnsupportedMediaType
from fleetform.store.writing import Precondition, Written

T = TypeVar("T", bound=msgspec.Struct)
B = TypeVar("B", bound=Body)
_TAG = re.compile(r'\s*(W/)?"([^"]*)"\s*(?:,|$)')


async def read(request: Request[Any, Any, Any], type_: type[B]) -> B:
    """The body as type_.

    UnsupportedMediaType unless it says to be JSON; Malformed when it is not; InvalidSpec with every wrong field.
    """
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType(f"send application/json, not {media_type!r}"[:200])
    try:
        value = msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Malformed("the body is nested too deeply") from error
    return decode(type_, value)


def precondition(request: Request[Any, Any, Any]) -> Precondition:
    """What If-Match and If-None-Match demand."""
    if_match = request.headers.get("if-match")
    if_none_match = request.headers.get("if-none-match")
    return Precondition(
        if_match=None if if_match is None else _generations(if_match, strong=True),
        absent=if_none_match is not None and if_none_match.strip() == "*",
        not_generations=_generations(if_none_match or "", strong=False),
    )


def etag(generation: int, revision: int = 0) -> str:
    """The strong entity tag of a resource. revision 0: nothing but its spec changes."""
    return f'"{generation}-{revision}"'


def answer(resource: T, tag: str, status: int = 200) -> Response[T]:
    return Response(resource, status_code=status, headers={"ETag": tag})


def written(outcome: Written[T], tag: str) -> Response[T]:
    """201 when a PUT made it, 200 otherwise."""
    return answer(outcome.resource, tag, 201 if outcome.created else 200)


def _generations(header: str, *, strong: bool) -> frozenset[str]:
    """The generation part of each entity tag, or `*`. Weak tags never match strongly (RFC 9110 §8.8.3.2)."""
    if header.strip() == "*":
        return frozenset({"*"})
    return frozenset(tag.partition("-")[0] for weak, tag in _TAG.findall(header) if not (strong and weak))
