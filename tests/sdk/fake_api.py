"""A control API that answers what it was told to, and remembers what it was asked."""

from collections.abc import Callable
from typing import Any

import httpx2
import msgspec

from fleetform_sdk import AsyncClient, Client

BASE_URL = "http://api.test"
TOKEN = "cd-secret-of-the-token"

Answer = httpx2.Response | Exception | tuple[int, object]


class FakeApi:
    """Answers by method and path; the answers of one path are used up in order, and the last one stays.

    requests: all that came. slept: the pauses a client of `client()` made, in seconds, none of which took time.
    """

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []
        self.slept: list[float] = []
        self.before: Callable[[httpx2.Request], None] = lambda request: None
        self._answers: dict[tuple[str, str], list[Answer]] = {}

    def on(self, method: str, path: str, *answers: Answer) -> "FakeApi":
        """Answer method and path with answers: (status, JSON body), a response, or an exception to raise."""
        self._answers[method, path] = list(answers)
        return self

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        """The next answer for request; 404 as a problem for what was not told."""
        self.requests.append(request)
        self.before(request)
        answers = self._answers.get((request.method, request.url.path), [(404, problem(404, "not-found", "no such thing"))])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx2.Response):
            return answer
        status, body = answer
        kind = "application/problem+json" if status >= 400 else "application/json"
        return httpx2.Response(status, content=msgspec.json.encode(body), headers={"content-type": kind})

    def client(self, **options: Any) -> Client:
        """A client of this API that does not really sleep."""
        http = httpx2.Client(transport=httpx2.MockTransport(self.handle))
        client = Client(TOKEN, base_url=BASE_URL, project="acme", http_client=http, **options)
        client._transport.sleep = self.slept.append
        return client

    def async_client(self, **options: Any) -> AsyncClient:
        """The same, asynchronous."""

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        http = httpx2.AsyncClient(transport=httpx2.MockTransport(self.handle))
        client = AsyncClient(TOKEN, base_url=BASE_URL, project="acme", http_client=http, **options)
        client._transport.sleep = sleep
        return client

    def asked(self) -> list[str]:
        """`METHOD path` of each request."""
        return [f"{request.method} {request.url.path}" for request in self.requests]

    def body(self, index: int = -1) -> Any:
        """The JSON body of a request."""
        return msgspec.json.decode(self.requests[index].content)


def problem(status: int, kind: str, detail: str, **more: object) -> dict[str, object]:
    """An RFC 9457 body as the control API writes it."""
    title = kind.replace("-", " ")
    return {
        "type": f"https://fleetform.dev/problems/{kind}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": "req-1",
        **more,
    }


def tagged(body: object, etag: str, status: int = 200) -> httpx2.Response:
    """An answer with an entity tag."""
    return httpx2.Response(status, content=msgspec.json.encode(body), headers={"content-type": "application/json", "etag": etag})
