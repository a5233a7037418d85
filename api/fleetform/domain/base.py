"""The struct bases, and what a field comes to that a client left out.

Subclasses repeat `frozen=True, kw_only=True`: one is not inherited, the other type checkers want to see.
"""

from datetime import datetime
from typing import TypeVar

import msgspec

T = TypeVar("T")


class Record(msgspec.Struct, frozen=True):
    """A value of ours. Change it by `msgspec.structs.replace`."""


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A value that a client sends. A field left out stays out: optional fields default to UNSET and encode to nothing."""


class Metadata(Record, frozen=True, kw_only=True):
    """What the server says of any resource. uid: stable for the life of the resource. generation: grows with the spec."""

    name: str
    uid: str
    generation: int
    created_at: datetime
    project: str | None = None


def value_or(value: T | msgspec.UnsetType, default: T) -> T:
    """value, or default where the client left it out."""
    return default if isinstance(value, msgspec.UnsetType) else value
