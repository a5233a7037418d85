"""The one place where a request gets a caller: bearer key, signature, issuer, time, and then the rows."""

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from fleetform.domain.access import Caller
from fleetform.errors import Unauthenticated
from fleetform.routes.access import PUBLIC
from fleetform.routes.dependencies import Dependencies
from fleetform.store import credentials


class Authentication(ASGIMiddleware):
    """Sets `scope["auth"]` to the Caller. Roles and revocation come from the rows, never from the key's claims."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        if scope["route_handler"].opt.get("need") != PUBLIC:
            scope["auth"] = await self._caller(_bearer(scope))
        await next_app(scope, receive, send)

    async def _caller(self, key: str) -> Caller:
        claims = self._deps.key.verify(key, self._deps.settings.region, self._deps.now())
        return await credentials.caller(claims.jti, self._deps.now())


def _bearer(scope: Scope) -> str:
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if not values:
        raise Unauthenticated("send an API key: Authorization: Bearer cd-…")
    scheme, _, key = values[0].decode("latin-1").partition(" ")
    if len(values) > 1 or scheme.lower() != "bearer":
        raise Unauthenticated("send one API key, as: Authorization: Bearer cd-…")
    return key.strip()
