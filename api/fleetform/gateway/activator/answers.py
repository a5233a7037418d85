"""What the activator says, as OpenAI clients read it."""

import json
import math
from typing import Any

from fleetform.gateway.replies import INVALID, RATE_LIMIT, SERVER, envelope
from fleetform.gateway.snapshot import EndpointRoute

HOPELESS_RETRY_AFTER_S = "60"
"""For clients that know only Retry-After: somebody may have mended the endpoint by then."""
HOPELESS = {"Stalled": "cannot start", "Deleting": "is being deleted"}
"""Phases in which waiting does not help, and what is said then."""


class Answer:
    """An HTTP answer with a JSON body."""

    def __init__(self, status: int, body: dict[str, Any], **headers: str) -> None:
        self.status = status
        self.body = json.dumps(body).encode()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


BOUNCE = Answer(503, envelope("No replica could take the request.", SERVER, "no_ready_replica"), retry_after="1", x_ff_bounce="1")
"""Makes Envoy try again, elsewhere if there is an elsewhere. A client sees it only when Envoy has tried as often as it may."""


def hopeless(route: EndpointRoute) -> Answer:
    """The endpoint is in one of the phases HOPELESS."""
    reason = f": {route.reason}" if route.reason else ""
    finds = "; its owner finds more in its status" if route.phase == "Stalled" else ""
    message = f"The endpoint '{route.endpoint}' {HOPELESS[route.phase]} (phase {route.phase}{reason}){finds}. Waiting does not help."
    return Answer(503, envelope(message, SERVER, "no_ready_replica"), retry_after=HOPELESS_RETRY_AFTER_S, x_should_retry="false")


def not_ready(route: EndpointRoute, held_s: float, remaining_s: int | None, away: str) -> Answer:
    """No replica was there in time. away: who does not answer, in a sentence, or empty."""
    message = f"The endpoint '{route.endpoint}' is not ready yet (phase {route.phase}); the request was held for {held_s:.0f} s."
    if remaining_s is not None:
        message += f" By earlier starts it needs about {remaining_s} s more."
    return _unavailable(f"{message}{away}", "model_loading", route, remaining_s)


def no_replica(route: EndpointRoute, held_s: float, away: str) -> Answer:
    """Replicas are routed, and none of them answered in time: they have died."""
    message = f"No replica of the endpoint '{route.endpoint}' answers (phase {route.phase}); the request was held for {held_s:.0f} s."
    return _unavailable(f"{message}{away}", "no_ready_replica", route, None)


def failed_too_often(route: EndpointRoute, times: int) -> Answer:
    """Replicas took the request and broke off, or Envoy found none, so many times."""
    message = f"No replica of the endpoint '{route.endpoint}' could answer this request; it was tried {times} times."
    return _unavailable(message, "no_ready_replica", route, None)


def queue_full(route: EndpointRoute, remaining_s: int | None) -> Answer:
    """No more of this project's requests may wait."""
    message = f"Too many requests wait for the endpoint '{route.endpoint}' to be ready (phase {route.phase})."
    return Answer(429, envelope(message, RATE_LIMIT, "queue_full"), retry_after=_retry_after(route, remaining_s))


def too_slow(route: EndpointRoute) -> Answer:
    """A replica had the request, and did not answer within the endpoint's time limit."""
    message = f"The endpoint '{route.endpoint}' did not answer within {route.request_timeout_s} s."
    return Answer(504, envelope(message, SERVER, "request_timeout"), x_should_retry="false")


def not_declared(name: str) -> Answer:
    """There is no such endpoint in the caller's project."""
    return Answer(404, envelope(f"The model '{name[:256]}' does not exist.", INVALID, "model_not_found", "model"))


def remaining_s(route: EndpointRoute, now: float, woken_at: float) -> int | None:
    """Seconds that the start should still take by what earlier ones took; None when nothing is known, or it takes longer than they did.

    now, woken_at: seconds since the epoch; woken_at is when the first request began to wait, for a start that has not begun.
    """
    began = route.start_began or woken_at
    for usual_s in (route.start_s, route.start_slow_s):
        left_s = began + usual_s - now
        if usual_s and left_s > 0:
            return math.ceil(left_s)
    return None


def _unavailable(message: str, code: str, route: EndpointRoute, remaining_s: int | None) -> Answer:
    return Answer(503, envelope(message, SERVER, code), retry_after=_retry_after(route, remaining_s))


def _retry_after(route: EndpointRoute, remaining_s: int | None) -> str:
    return str(route.retry_after_s if remaining_s is None else remaining_s)
