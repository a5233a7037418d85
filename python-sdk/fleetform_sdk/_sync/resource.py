"""Generated from _async by `make generate`; do not edit."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from fleetform_sdk import _environment
from fleetform_sdk._call import Call
from fleetform_sdk._errors import APIConnectionError, InternalServerError, PreconditionFailedError
from fleetform_sdk._readiness import POLL_S
from fleetform_sdk._sync.transport import Transport

T = TypeVar("T")
UPDATE_ATTEMPTS = 5
"""How often a read-change-write starts anew when somebody else was faster."""
OUTAGE_POLLS = 30
"""How many polls in a row may find no server before a wait gives up: about a minute and a half."""

Change = Callable[[dict[str, Any]], Mapping[str, Any]]
"""From a spec as JSON to the wanted one; may be called more than once."""


class Resource:
    """One kind of resource. default_project: of the client; a method's own `project` goes before it."""

    def __init__(self, transport: Transport, default_project: str | None) -> None:
        self._transport = transport
        self._default_project = default_project

    def _project(self, project: str | None) -> str:
        """The project to speak of; ConfigurationError when none was named."""
        return _environment.required(project or self._default_project, _environment.PROJECT, "project", {})

    def _put(self, write: Call[T], read: Call[T]) -> T:
        """Send a PUT. One that was to replace nothing, and was sent again, may meet what its first attempt made: that is its answer."""
        try:
            return self._transport.send(write)
        except PreconditionFailedError as refused:
            if refused.attempts == 1:
                raise
            seen = self._transport.answer(read)
            wanted = msgspec.json.decode(msgspec.json.encode(write.body))
            if msgspec.json.decode(seen.content)["spec"] != wanted["spec"]:
                raise
            return seen.value

    def _update(self, read: Call[T], write: Callable[[object, str | None], Call[T]], change: Change) -> T:
        """Put change(spec) in the place of spec; start anew when somebody wrote in between.

        The spec is handled as JSON, so that fields which this SDK does not know are kept. PreconditionFailedError: others were
        faster every time.
        """
        attempt = 1
        while True:
            seen = self._transport.answer(read)
            spec = msgspec.json.decode(seen.content)["spec"]
            changed = change(msgspec.json.decode(seen.content)["spec"])
            if changed == spec:
                return seen.value
            try:
                return self._transport.send(write({"spec": changed}, seen.etag))
            except PreconditionFailedError:
                if attempt == UPDATE_ATTEMPTS:
                    raise
                attempt += 1

    def _poll(self, call: Call[T]) -> T:
        """The answer to a poll. A server that is away, as during its restart, is waited for through OUTAGE_POLLS polls."""
        missed = 0
        while True:
            try:
                return self._transport.send(call)
            except (APIConnectionError, InternalServerError):
                missed += 1
                if missed == OUTAGE_POLLS:
                    raise
            self._transport.sleep(POLL_S)

    def _rest_of_poll(self, began: float) -> None:
        """Wait as long as a long poll would have, when the server answered at once and the wait is not over."""
        self._transport.sleep(max(0.0, POLL_S - (time.monotonic() - began)))


def only_new(create_only: bool) -> str | None:
    """The If-None-Match header of a PUT that must not replace anything."""
    return "*" if create_only else None
