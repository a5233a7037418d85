"""Counts and times the control API's requests, by route; ends each answer with the request's id."""

import time

from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Counter, Histogram


class Measuring(ASGIMiddleware):
    """registry: of this application alone, so that several may live in one process."""

    scopes = (ScopeType.HTTP,)

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("fleetform_api_requests", "Requests to the control API.", labels, registry=self.registry)
        self._seconds = Histogram("fleetform_api_request_seconds", "Time to answer.", labels[:2], registry=self.registry)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        started = time.perf_counter()
        method, route = str(scope.get("method")), scope["path_template"]
        status = 500

        async def send_measured(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableScopeHeaders.from_message(message)["x-request-id"] = scope["state"]["request_id"]
            await send(message)

        try:
            await next_app(scope, receive, send_measured)
        finally:
            self._requests.labels(method, route, status).inc()
            self._seconds.labels(method, route).observe(time.perf_counter() - started)
