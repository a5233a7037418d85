"""Generated from _async by `make generate`; do not edit."""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from fleetform_sdk._call import Call
from fleetform_sdk._sync.transport import Transport

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class PageOf(Protocol[T_co]):
    """One page as the API answers it. next_cursor None: the last one."""

    @property
    def items(self) -> Sequence[T_co]: ...
    @property
    def next_cursor(self) -> str | None: ...


class Pages(Generic[T]):
    """All items of a list, page by page as they are read; nothing is fetched before. May be read again: it then fetches again."""

    def __init__(self, transport: Transport, call_for: Callable[[str | None], Call[PageOf[T]]]) -> None:
        self._transport = transport
        self._call_for = call_for

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            for item in page:
                yield item

    def pages(self) -> Iterator[Sequence[T]]:
        """The items of each page."""
        cursor: str | None = None
        while True:
            page = self._transport.send(self._call_for(cursor))
            yield page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def all(self) -> list[T]:
        """Every item, in memory."""
        return [item for item in self]
