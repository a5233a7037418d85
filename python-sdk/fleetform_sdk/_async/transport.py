"""Sends calls: authentication, retries, timeouts, and every failure as an error of this package."""

import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar, cast

import anyio
import httpx2

from fleetform_sdk import _answers
from fleetform_sdk._call import Answer, Call, encoded
from fleetform_sdk._errors import FleetformError, NotFoundError
from fleetform_sdk._retry import Failure, delay_s

T = TypeVar("T")
CONNECT_TIMEOUT_S = 5.0


class AsyncTransport:
    """One server and one token. max_retries: attempts after the first. timeout_s: of one attempt, a long poll's own time added."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        *,
        base_url: str,
        token: str,
        timeout_s: float,
        max_retries: int,
        headers: Mapping[str, str],
    ) -> None:
        self.http = http
        self.base_url = base_url
        self.token = token
        self.timeout_s = timeout_s
        self.max_retries = max_retries
        self.headers = dict(headers)
        self.sleep: Callable[[float], Awaitable[None]] = anyio.sleep

    async def send(self, call: Call[T]) -> T:
        """The decoded answer to call; FleetformError when there is none, or the server refuses."""
        return (await self.answer(call)).value

    async def answer(self, call: Call[T]) -> Answer[T]:
        """As `send`, with status and ETag."""
        attempt = 0
        while True:
            error: FleetformError
            try:
                response = await self._attempt(call)
            except httpx2.TransportError as cause:
                error, failure = _answers.no_answer(cause, self.base_url), Failure(None, _answers.was_sent(cause))
            except httpx2.RequestError as cause:
                raise _answers.unreadable(call, cause) from cause
            else:
                if response.is_success:
                    return _answers.decode(call, response)
                error = refused = _answers.refusal(response)
                refused.attempts = attempt + 1
                if attempt > 0 and call.method == "DELETE" and isinstance(refused, NotFoundError):
                    # The first attempt deleted it and its answer was lost.
                    return cast("Answer[T]", Answer(value=None, status_code=204, etag=None, content=b""))
                failure = Failure(refused.status_code, sent=True, retry_after_s=refused.retry_after_s)
            wait_s = delay_s(call.method, failure, attempt, random.random()) if attempt < self.max_retries else None  # noqa: S311  # spreads retries, and hides nothing
            if wait_s is None:
                raise error
            await self.sleep(wait_s)
            attempt += 1

    async def _attempt(self, call: Call[T]) -> httpx2.Response:
        headers = {**self.headers, **call.headers, "authorization": f"Bearer {self.token}"}
        content = encoded(call)
        if content is not None:
            headers["content-type"] = "application/json"
        patience_s = self.timeout_s + float(call.query.get("timeout_s", 0))
        return await self.http.request(
            call.method,
            self.base_url + call.path,
            params=call.query,
            headers=headers,
            content=content,
            timeout=httpx2.Timeout(patience_s, connect=min(CONNECT_TIMEOUT_S, patience_s)),
        )
