"""From httpx2's answers and exceptions to values and errors of this package. Pure."""

from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx2
import msgspec

from fleetform_sdk._call import Answer, Call
from fleetform_sdk._errors import APIConnectionError, APIStatusError, APITimeoutError, InvalidResponseError, status_error
from fleetform_sdk._retry import retry_after_s

T = TypeVar("T")
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_SHOWN_MAX = 200


def decode(call: Call[T], response: httpx2.Response) -> Answer[T]:
    """The answer to call, decoded. InvalidResponseError: it is not what the contract says."""
    etag = response.headers.get("etag")
    return Answer(value=_value(call, response), status_code=response.status_code, etag=etag, content=response.content)


def _value(call: Call[T], response: httpx2.Response) -> Any:
    if call.response is None or not response.content:
        return None
    if call.response is str:
        return response.text
    try:
        return msgspec.json.decode(response.content, type=call.response)
    except msgspec.DecodeError as error:
        shown = response.text[:_SHOWN_MAX]
        raise InvalidResponseError(f"{call.operation}: the answer is not what the contract says ({error}): {shown!r}") from error


def refusal(response: httpx2.Response) -> APIStatusError:
    """The error for an answer that is not a good one."""
    try:
        body: object = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        body = response.text[:_SHOWN_MAX].strip()
    if response.is_redirect:
        body = f"the server there sends us on to {response.headers.get('location')!r}, and no token follows; is the address right?"
    request_id = response.headers.get("x-request-id")
    if request_id is None and isinstance(body, dict) and isinstance(body.get("instance"), str):
        request_id = body["instance"]
    after = retry_after_s(response.headers, datetime.now(UTC))
    return status_error(response.status_code, body, request_id=request_id, retry_after_s=after)


def no_answer(cause: httpx2.TransportError, base_url: str) -> APIConnectionError:
    """The error for an attempt that had no answer; it is chained to cause."""
    type_ = APITimeoutError if isinstance(cause, httpx2.TimeoutException) else APIConnectionError
    what = "did not answer in time" if type_ is APITimeoutError else "cannot be reached"
    error = type_(f"the control API at {base_url} {what}: {cause or type(cause).__name__}")
    error.__cause__ = cause
    return error


def unreadable(call: Call[Any], cause: httpx2.RequestError) -> InvalidResponseError:
    """The error for an answer whose body cannot be taken out of its encoding."""
    return InvalidResponseError(f"{call.operation}: the answer cannot be read: {cause}")


def was_sent(cause: httpx2.TransportError) -> bool:
    """False when the request cannot have reached the server."""
    return not isinstance(cause, _NEVER_SENT)
