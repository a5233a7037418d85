"""The control API as an ASGI application, and the metrics of it as another."""

from typing import Any, cast
from urllib.parse import unquote
from uuid import uuid4

import structlog
from litestar import Litestar, Response, Router, get
from litestar.connection import Request
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.types import LifeSpanReceive, LifeSpanScope, LifeSpanSend, Receive, Scope, Send
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from fleetform import __version__
from fleetform.errors import DatabaseAway, RequestError, TemporaryError
from fleetform.routes import problems
from fleetform.routes.access import PUBLIC, guard, route
from fleetform.routes.authentication import Authentication
from fleetform.routes.dependencies import Dependencies
from fleetform.routes.endpoints import EndpointController
from fleetform.routes.inference_metrics import WINDOW_S, InferenceMetrics
from fleetform.routes.machines import EngineController, InstanceTypeController
from fleetform.routes.measuring import Measuring
from fleetform.routes.models import ModelVersionController
from fleetform.routes.openapi import document
from fleetform.routes.options import Options
from fleetform.routes.projects import ProjectController, RoleBindingController
from fleetform.routes.quotas import QuotaController
from fleetform.routes.region import HealthController, RegionController
from fleetform.routes.tokens import TokenController
from fleetform.store.counting import replica_counts

CONTROLLERS = (
    ProjectController,
    RoleBindingController,
    InstanceTypeController,
    EngineController,
    ModelVersionController,
    EndpointController,
    QuotaController,
    TokenController,
    RegionController,
    HealthController,
)
DESCRIPTION = "Declares OpenAI-compatible model endpoints. `spec` is the client's and comes back as it was sent; `status` is the server's."


class ControlApi(Litestar):
    """Litestar that gives each request an id, and keeps an encoded slash inside its path segment.

    Without the second, a name such as `..%2Fetc` would become two segments and answer 404 where it must be told that it is no name.
    """

    async def __call__(self, scope: Scope | LifeSpanScope, receive: Receive | LifeSpanReceive, send: Send | LifeSpanSend) -> None:
        if scope["type"] == ScopeType.HTTP:
            http = cast("Scope", scope)
            request_id = uuid4().hex
            http.setdefault("state", {})["request_id"] = request_id
            http["path"] = _decoded(http.get("raw_path") or http["path"].encode())
            structlog.contextvars.bind_contextvars(request_id=request_id)
        await super().__call__(scope, receive, send)


class DocumentPlugin(OpenAPIRenderPlugin):
    """Serves the same document that openapi.yaml holds."""

    def __init__(self) -> None:
        super().__init__(path=["/", "/openapi.json"], media_type="application/json")  # type: ignore[arg-type]  # any media type works
        self._text: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        if self._text is None:
            self._text = self.render_json(request, document(request.app))
        return self._text


def create_app(deps: Dependencies) -> Litestar:
    """The control API. The database must be connected, and `deps.waker.told` fed by `database.listen`, by whoever starts it."""

    def provide() -> Dependencies:
        return deps

    measuring = Measuring()
    app = ControlApi(
        route_handlers=list(CONTROLLERS),
        dependencies={"deps": Provide(provide, sync_to_thread=False)},
        middleware=[measuring, Options(), Authentication(deps)],
        guards=[guard],
        exception_handlers={
            RequestError: problems.of_request_error,
            TemporaryError: problems.of_temporary_error,
            HTTPException: problems.of_http_exception,
            Exception: problems.of_bug,
        },
        logging_config=None,
        request_max_body_size=deps.settings.max_body_mib << 20,
        openapi_config=OpenAPIConfig(
            title="Fleetform",
            version=__version__,
            description=DESCRIPTION,
            use_handler_docstrings=True,
            render_plugins=[DocumentPlugin()],
            openapi_router=Router("/schema", route_handlers=[], include_in_schema=False, opt=route(PUBLIC, answers={})),
        ),
    )
    app.state.registry = measuring.registry
    return app


def create_metrics_app(app: Litestar, deps: Dependencies) -> Litestar:
    """`GET /metrics` for a loopback listener of its own: it names tenants."""
    registry: CollectorRegistry = app.state.registry

    @get("/metrics")
    async def get_metrics() -> Response[bytes]:
        """Prometheus text. While the database is away it says nothing of inference, rather than that there is none."""
        try:
            counts = await replica_counts()
        except DatabaseAway:
            return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
        loads, windows = await deps.loads.read(), await deps.loads.recent(WINDOW_S)
        text = generate_latest(registry) + generate_latest(InferenceMetrics(counts, loads, windows).registry())
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return Litestar(route_handlers=[get_metrics], openapi_config=None, logging_config=None)


def _decoded(raw_path: bytes) -> str:
    path = raw_path.partition(b"?")[0].decode("latin-1")
    return "/".join(unquote(segment, errors="replace").replace("/", "%2F") for segment in path.split("/"))
