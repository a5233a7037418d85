"""Lists that fetch their pages when they are needed."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from fleetform_sdk._async.transport import AsyncTransport
from fleetform_sdk._call import Call

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class PageOf(Protocol[T_co]):
    """One page as the API answers it. next_cursor None: the last one."""

    @property
    def items(self) -> Sequence[T_co]: ...
    @property
    def next_cursor(self) -> str | None: ...


class AsyncPages(Generic[T]):
    """All items of a list, page by page as they are read; nothing is fetched before. May be read again: it then fetches again."""

    def __init__(self, transport: AsyncTransport, call_for: Callable[[str | None], Call[PageOf[T]]]) -> None:
        self._transport = transport
        self._call_for = call_for

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page:
                yield item

    async def pages(self) -> AsyncIterator[Sequence[T]]:
        """The items of each page."""
        cursor: str | None = None
        while True:
            page = await self._transport.send(self._call_for(cursor))
            yield page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    async def all(self) -> list[T]:
        """Every item, in memory."""
        return [item async for item in self]
