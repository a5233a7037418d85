"""Lists fetch their pages when they are read, and not before."""

import pytest

from tests.sdk import bodies
from tests.sdk.fake_api import FakeApi

PATH = "/v1/projects/acme/endpoints/prod/replicas"


def two_pages() -> FakeApi:
    first = bodies.page(bodies.replica("r-1"), bodies.replica("r-2"), next_cursor="c 2/&")
    return FakeApi().on("GET", PATH, (200, first), (200, bodies.page(bodies.replica("r-3"))))


def test_items_come_page_by_page() -> None:
    api = two_pages()
    found = api.client().endpoints.replicas("prod")
    assert api.requests == []
    read = iter(found)
    assert [next(read).id, next(read).id] == ["r-1", "r-2"]
    assert len(api.requests) == 1
    assert [replica.id for replica in read] == ["r-3"]
    assert [request.url.params.get("cursor") for request in api.requests] == [None, "c 2/&"]


def test_pages_and_all() -> None:
    assert [len(page) for page in two_pages().client().endpoints.replicas("prod").pages()] == [2, 1]
    assert [replica.id for replica in two_pages().client().endpoints.replicas("prod").all()] == ["r-1", "r-2", "r-3"]


@pytest.mark.anyio
async def test_asynchronously() -> None:
    client = two_pages().async_client()
    assert [replica.id async for replica in client.endpoints.replicas("prod")] == ["r-1", "r-2", "r-3"]
