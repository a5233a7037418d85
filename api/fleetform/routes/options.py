"""OPTIONS: which methods a path has."""

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.response.base import ASGIResponse
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Receive, Scope, Send


class Options(ASGIMiddleware):
    """Answers OPTIONS for every path. Litestar's own handler is made with the path's first method and never hears of the others."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        if scope.get("method") != "OPTIONS":
            await next_app(scope, receive, send)
            return
        app: Litestar = scope["litestar_app"]
        routes = (route for route in app.routes if isinstance(route, HTTPRoute) and route.path_format == scope["path_template"])
        allowed = sorted({method for route in routes for method in route.methods})
        await ASGIResponse(status_code=204, headers={"Allow": ", ".join(allowed)})(scope, receive, send)
