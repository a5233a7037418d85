"""Query parameters that several routes share."""

from typing import Annotated, Literal

from litestar.params import QueryParameter

Limit = Annotated[int, QueryParameter(ge=1, description="How many items at most; more than 200 counts as 200.")]
Cursor = Annotated[str | None, QueryParameter(max_length=1024, description="`next_cursor` of the page before.")]
WaitFor = Annotated[
    Literal["ready", "deleted"] | None,
    QueryParameter(
        description="Answer when this holds, when it can no longer come true without a change, or when timeout_s is over: with the "
        "resource as it is then, or 404 once it is deleted."
    ),
]
WaitGeneration = Annotated[int | None, QueryParameter(ge=1, description="`ready` means this generation or a later one.")]
WaitTimeout = Annotated[int, QueryParameter(ge=1, le=60, description="The longest wait, in seconds.")]
Lines = Annotated[int, QueryParameter(ge=1, le=2000, description="How many lines at most, from the end.")]
