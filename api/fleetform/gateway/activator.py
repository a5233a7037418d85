"""The activator: answers for declared endpoints that have no replica to answer, and lists the models of a project.

Envoy reaches it on a Unix socket, with the caller already known: x-ff-project, x-ff-scopes and x-ff-endpoint are Envoy's words, never
the client's. It reads the stored snapshot and needs neither worker nor server. Every answer carries x-ff-activator, so that Envoy
does not take its 503s for a broken host.
"""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import uvicorn

from fleetform import logs
from fleetform import settings as settings_module
from fleetform.gateway.chain import ENDPOINT_HEADER
from fleetform.gateway.filters import PROJECT_HEADER
from fleetform.gateway.replies import INVALID, PERMISSION, SERVER, envelope
from fleetform.gateway.resources import ACTIVATOR_HEADER
from fleetform.gateway.routing import SCOPES_HEADER, STARTED_HEADER
from fleetform.gateway.snapshot import EndpointRoute
from fleetform.gateway.store import SnapshotReader
from fleetform.settings import Settings

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

HOPELESS_RETRY_AFTER_S = "60"
"""For clients that know only Retry-After: somebody may have mended the endpoint by then."""
HOPELESS = {"Stalled": "cannot start; its owner finds the reason in its status", "Deleting": "is being deleted"}
"""Phases in which waiting does not help, and what is said then."""
_MODELS = "/v1/models"


class Answer:
    """An HTTP answer with a JSON body."""

    def __init__(self, status: int, body: dict[str, Any], **headers: str) -> None:
        self.status = status
        self.body = json.dumps(body).encode()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Activator:
    """The ASGI application."""

    def __init__(self, reader: SnapshotReader, clock: Callable[[], float] = time.time) -> None:
        self._reader = reader
        self._clock = clock

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        await _drain(receive)
        await _send(send, self.answer(scope["path"], headers))

    def answer(self, path: str, headers: dict[str, str]) -> Answer:
        """The answer to a request at path; headers have lower-case names."""
        routes = self._reader.snapshot().routes
        if path == _MODELS or path.startswith(f"{_MODELS}/"):
            project, scopes = headers.get(PROJECT_HEADER, ""), _scopes(headers)
            if path == _MODELS:
                return _models(routes, project, scopes)
            return _one_model(routes, project, scopes, unquote(path.removeprefix(f"{_MODELS}/")))
        route = routes.get(headers.get(ENDPOINT_HEADER, ""))
        if route is None:
            return _not_declared(headers.get(ENDPOINT_HEADER, "").partition("/")[2])
        return _too_slow(route) if self._is_overdue(route, headers) else _not_ready(route)

    def _is_overdue(self, route: EndpointRoute, headers: dict[str, str]) -> bool:
        """Only engines without our middleware have Envoy end what takes too long, which then tries elsewhere and at last here."""
        try:
            started = float(headers.get(STARTED_HEADER, ""))
        except ValueError:
            return False
        return route.command_engine and self._clock() - started >= route.request_timeout_s


def main() -> None:
    """Serve on the activator's socket until a signal ends it."""
    settings = settings_module.load()
    logs.configure(settings.log_level)
    serve(settings)


def serve(settings: Settings) -> None:
    """Serve on the activator's socket of these settings until a signal ends it."""
    settings.activator_socket.unlink(missing_ok=True)
    reader = SnapshotReader(settings.home / "gateway")
    uvicorn.run(
        Activator(reader),
        uds=str(settings.activator_socket),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=60,  # longer than Envoy keeps an idle connection, so that Envoy is the one to close it
        server_header=False,
    )


def _not_ready(route: EndpointRoute) -> Answer:
    """Why nothing answers. Replicas that are routed and yet do not answer have died; before that the endpoint is starting."""
    if route.phase in HOPELESS:
        message = f"The endpoint '{route.endpoint}' {HOPELESS[route.phase]} (phase {route.phase}). Waiting does not help."
        return Answer(503, envelope(message, SERVER, "no_ready_replica"), retry_after=HOPELESS_RETRY_AFTER_S, x_should_retry="false")
    if any(not target.draining for track in route.tracks if track.weight for target in track.targets):
        message = f"No replica of the endpoint '{route.endpoint}' answers (phase {route.phase})."
        return Answer(503, envelope(message, SERVER, "no_ready_replica"), retry_after=str(route.retry_after_s))
    message = f"The endpoint '{route.endpoint}' is not ready yet (phase {route.phase})."
    return Answer(503, envelope(message, SERVER, "model_loading"), retry_after=str(route.retry_after_s))


def _too_slow(route: EndpointRoute) -> Answer:
    message = f"The endpoint '{route.endpoint}' did not answer within {route.request_timeout_s} s."
    return Answer(504, envelope(message, SERVER, "request_timeout"), x_should_retry="false")


def _models(routes: dict[str, EndpointRoute], project: str, scopes: frozenset[str]) -> Answer:
    mine = sorted((r for r in routes.values() if r.project == project and _may_see(scopes, r.endpoint)), key=lambda r: r.endpoint)
    return Answer(200, {"object": "list", "data": [_model(route) for route in mine]})


def _one_model(routes: dict[str, EndpointRoute], project: str, scopes: frozenset[str], name: str) -> Answer:
    if not _may_see(scopes, name):
        message = "The API key may not call this: it is limited to other endpoints."
        return Answer(403, envelope(message, PERMISSION, "endpoint_not_allowed"))
    route = routes.get(f"{project}/{name}")
    return _not_declared(name) if route is None else Answer(200, _model(route))


def _model(route: EndpointRoute) -> dict[str, Any]:
    return {"id": route.endpoint, "object": "model", "created": route.created, "owned_by": route.project}


def _not_declared(name: str) -> Answer:
    return Answer(404, envelope(f"The model '{name[:256]}' does not exist.", INVALID, "model_not_found", "model"))


def _may_see(scopes: frozenset[str], name: str) -> bool:
    return "*" in scopes or name in scopes


def _scopes(headers: dict[str, str]) -> frozenset[str]:
    try:
        found = json.loads(headers.get(SCOPES_HEADER, "[]"))
    except ValueError:
        return frozenset()
    return frozenset(name for name in found if isinstance(name, str)) if isinstance(found, list) else frozenset()


async def _drain(receive: Receive) -> None:
    """Read the body to its end: an answer before it would make Envoy give the connection up."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return


async def _send(send: Send, answer: Answer) -> None:
    headers = {"content-type": "application/json", "content-length": str(len(answer.body)), ACTIVATOR_HEADER: "1", **answer.headers}
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body})
