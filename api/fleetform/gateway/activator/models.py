"""The models of a project: its endpoints, as far as the key may see them."""

import json
from typing import Any

from fleetform.gateway.activator.answers import Answer, not_declared
from fleetform.gateway.replies import PERMISSION, envelope
from fleetform.gateway.snapshot import EndpointRoute


def models(routes: dict[str, EndpointRoute], project: str, scopes: frozenset[str]) -> Answer:
    """All of them, by name."""
    mine = sorted((r for r in routes.values() if r.project == project and _may_see(scopes, r.endpoint)), key=lambda r: r.endpoint)
    return Answer(200, {"object": "list", "data": [_model(route) for route in mine]})


def one_model(routes: dict[str, EndpointRoute], project: str, scopes: frozenset[str], name: str) -> Answer:
    """The one of that name."""
    if not _may_see(scopes, name):
        message = "The API key may not call this: it is limited to other endpoints."
        return Answer(403, envelope(message, PERMISSION, "endpoint_not_allowed"))
    route = routes.get(f"{project}/{name}")
    return not_declared(name) if route is None else Answer(200, _model(route))


def scopes_of(text: str) -> frozenset[str]:
    """The endpoints that a key may call, out of Envoy's header; `*` is all of them."""
    try:
        found = json.loads(text)
    except ValueError:
        return frozenset()
    return frozenset(name for name in found if isinstance(name, str)) if isinstance(found, list) else frozenset()


def _model(route: EndpointRoute) -> dict[str, Any]:
    return {"id": route.endpoint, "object": "model", "created": route.created, "owned_by": route.project}


def _may_see(scopes: frozenset[str], name: str) -> bool:
    return "*" in scopes or name in scopes
