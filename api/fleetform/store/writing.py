"""What every PUT, DELETE and list has in common: preconditions, outcomes, pages."""

import base64
import binascii
from typing import Generic, TypeVar

import msgspec

from fleetform.domain.base import Record
from fleetform.errors import FieldError, InvalidSpec, Stale

T = TypeVar("T")
PAGE_MAX = 200


class Precondition(Record, frozen=True, kw_only=True):
    """What the caller demands of the resource before it is written.

    if_match: generations of which one must be current, or `*` (it must exist); None: nothing. absent: it must not exist.
    not_generations: none of these may be current.
    """

    if_match: frozenset[str] | None = None
    absent: bool = False
    not_generations: frozenset[str] = frozenset()

    def check(self, generation: int | None) -> None:
        """Stale unless it holds. generation None: the resource does not exist."""
        if generation is None:
            if self.if_match is not None:
                raise Stale("If-Match did not hold: the resource does not exist")
            return
        if self.absent:
            raise Stale(f"the resource exists already, with generation {generation}: If-None-Match did not hold")
        if self.if_match is not None and not self.if_match & {"*", str(generation)}:
            raise Stale(f"If-Match did not hold: the current generation is {generation}")
        if str(generation) in self.not_generations:
            raise Stale(f"If-None-Match did not hold: the current generation is {generation}")


ANY = Precondition()


class Written(Record, Generic[T], frozen=True, kw_only=True):
    """What a PUT came to. changed: something was written; created: for the first time."""

    resource: T
    created: bool = False
    changed: bool = False


class Page(Record, Generic[T], frozen=True, kw_only=True):
    """Part of a list. next_cursor: where the next part begins; None at the end."""

    items: tuple[T, ...]
    next_cursor: str | None


def size(limit: int) -> int:
    """The page size for a wanted one: too large is cut, not refused."""
    return max(1, min(limit, PAGE_MAX))


def cursor_of(*key: str) -> str:
    """An opaque cursor that stands for the last key of a page."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def key_of(cursor: str | None, parts: int) -> tuple[str, ...]:
    """The key of parts strings that cursor stands for; None: one that sorts before all others. InvalidSpec when it is not ours."""
    if cursor is None:
        return ("",) * parts
    try:
        key = msgspec.json.decode(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True), type=tuple[str, ...])
    except (binascii.Error, msgspec.DecodeError, ValueError) as error:
        raise _bad_cursor() from error
    if len(key) != parts or any("\0" in part for part in key):
        raise _bad_cursor()
    return key


def _bad_cursor() -> InvalidSpec:
    return InvalidSpec((FieldError("/cursor", "is not a next_cursor of this list", "invalid_value"),))
