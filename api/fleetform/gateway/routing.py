"""The static routes: the path list is the allow-list, and the cluster comes from a header, so that no endpoint needs a route of its own."""

from typing import Any

from fleetform.gateway.chain import ENDPOINT_HEADER, EXTENSIONS, INFERENCE_PATHS, typed
from fleetform.gateway.filters import CREDENTIAL_HEADER
from fleetform.gateway.replies import direct

Json = dict[str, Any]

TIMEOUT_HEADER = "x-ff-timeout-s"
"""Tells the middleware inside the replica how long the whole answer may take."""
STARTED_HEADER = "x-ff-started"
"""When the request came in, in seconds since the epoch: tells the activator a replica that is too slow from one that is gone."""
ATTEMPT_HEADER = "x-envoy-attempt-count"
"""Envoy's count of the times that it has sent a request somewhere, from 1."""
BOUNCE_HEADER = "x-ff-bounce"
"""On an answer of the activator: try again, a replica is there now. On one of a replica: its engine has died, try another."""
RETRIES = 32
SCOPES_HEADER = "x-ff-scopes"
"""Tells the activator which endpoints the caller may see, as a JSON list."""


def route_config() -> Json:
    """The routes of the gateway's listener, in the order they are tried."""
    host = {
        "name": "all",
        "domains": ["*"],
        "request_headers_to_remove": ["authorization", CREDENTIAL_HEADER],
        "response_headers_to_remove": [BOUNCE_HEADER],
        "include_request_attempt_count": True,
        "retry_policy": _retry_policy(),
        "routes": [*_inference_routes(), *_model_routes(), *_absent_routes()],
    }
    return {"name": "gateway", "virtual_hosts": [host]}


def _inference_routes() -> list[Json]:
    """The path alone is matched, without its query. Everything else of a replica cannot be reached."""
    action = {"timeout": "0s", "cluster_header": ENDPOINT_HEADER, "cluster_not_found_response_code": "NOT_FOUND"}
    routes: list[Json] = []
    for path in INFERENCE_PATHS:
        name = path.removeprefix("/v1/")
        routes.append(
            {
                "name": name,
                "match": {"path": path, "headers": [_method("POST")]},
                "route": action,
                "request_headers_to_add": [
                    _header(TIMEOUT_HEADER, "%METADATA(CLUSTER:ff:timeout_s)%"),
                    _header(STARTED_HEADER, "%START_TIME(%s.%3f)%"),
                ],
            }
        )
        routes.append(_not_allowed(name, {"path": path}, "POST"))
    return routes


def _model_routes() -> list[Json]:
    scopes = _header(SCOPES_HEADER, "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:endpoints)%")
    routes: list[Json] = []
    for match in ({"path": "/v1/models"}, {"prefix": "/v1/models/"}):
        routes.append(
            {
                "name": "models",
                "match": {**match, "headers": [_method("GET")]},
                "route": {"cluster": "activator", "timeout": "10s"},
                "request_headers_to_add": [scopes],
            }
        )
        routes.append(_not_allowed("models", match, "GET"))
    return routes


def _absent_routes() -> list[Json]:
    """What OpenAI has and this gateway does not, each with its reason; then every other path."""
    stored = "No response is stored here. Send the whole conversation in 'input' rather than an id of an earlier response."
    files = "Files and batches are not available at this gateway."
    unknown = "There is nothing at this URL. The paths are chat/completions, completions, responses, embeddings and models below /v1."
    return [
        _answer("responses", {"prefix": "/v1/responses/"}, direct(404, stored, "response_not_found")),
        _answer("files", {"path_separated_prefix": "/v1/files"}, direct(404, files, "unsupported")),
        _answer("batches", {"path_separated_prefix": "/v1/batches"}, direct(404, files, "unsupported")),
        _answer("unknown", {"prefix": "/"}, direct(404, unknown, "unknown_url")),
    ]


def _not_allowed(name: str, match: Json, allowed: str) -> Json:
    route = _answer(name, match, direct(405, f"Use {allowed} here.", "method_not_allowed"))
    return {**route, "response_headers_to_add": [_header("allow", allowed)]}


def _answer(name: str, match: Json, response: Json) -> Json:
    return {"name": name, "match": match, "direct_response": response}


def _method(name: str) -> Json:
    return {"name": ":method", "string_match": {"exact": name}}


def _header(key: str, value: str) -> Json:
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _retry_policy() -> Json:
    """Before any byte of an answer, on another replica, and at last on the activator (`previous_priorities`).

    `reset` and not `reset-before-request`: requests that a killed replica had already taken are then not lost. A request that the
    activator has held comes back here by its header. There are enough retries, with long enough pauses, to outlast the restart of an
    activator; it is the activator, which every third attempt reaches, that ends what replicas cannot bear.
    """
    hosts = typed(f"{EXTENSIONS}.retry.host.previous_hosts.v3.PreviousHostsPredicate")
    priorities = typed(f"{EXTENSIONS}.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig", update_frequency=2)
    return {
        "retry_on": "connect-failure,refused-stream,reset,retriable-headers",
        "retriable_headers": [{"name": BOUNCE_HEADER, "present_match": True}],
        "num_retries": RETRIES,
        "host_selection_retry_max_attempts": "5",
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "1s"},
        "retry_host_predicate": [{"name": "other-hosts", "typed_config": hosts}],
        "retry_priority": {"name": "other-priorities", "typed_config": priorities},
    }
