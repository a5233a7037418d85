"""What Envoy itself answers, as OpenAI clients read it: `{"error": {"message", "type", "param", "code"}}`, always.

Mappers are tried in order, the specific before the general. `x-should-retry: false` stands where the SDKs would try again in vain.
"""

import json
from typing import Any

from fleetform.gateway.chain import EXTENSIONS, MODEL, PROJECT_CLAIM
from fleetform.settings import Settings

Json = dict[str, Any]

AUTHENTICATION, PERMISSION, INVALID, SERVER = "authentication_error", "permission_error", "invalid_request_error", "server_error"
RATE_LIMIT = "rate_limit_error"
NO_RETRY = ("x-should-retry", "false")


def envelope(message: str, type_: str, code: str, param: str | None = None) -> Json:
    """The body of an error answer."""
    return {"error": {"message": message, "type": type_, "param": param, "code": code}}


def direct(status: int, message: str, code: str, type_: str = INVALID) -> Json:
    """A direct_response action; `local_reply_config` lets its body pass as it is."""
    return {"status": status, "body": {"inline_string": json.dumps(envelope(message, type_, code))}}


def local_reply_config(settings: Settings) -> Json:
    """Every answer that Envoy makes by itself, for the listener."""
    mappers = [*_keys(), *_regions(settings), *_requests(settings), *_upstream(), _direct(), *_rest()]
    return {"mappers": mappers}


def _keys() -> list[Json]:
    unknown = "The API key is not valid. Send a key of this region as 'Authorization: Bearer cd-…'; mint one with 'fleetform token mint'."
    project = f"This API key belongs to project '{PROJECT_CLAIM}'. Leave out OpenAI-Project, or use a key of the project you name."
    return [
        _mapper(
            f"{_starts('jwt_authn_access_denied{Jwt_is_missing')} && !('authorization' in request.headers)",
            401,
            "No API key was sent. Send one as 'Authorization: Bearer cd-…'; mint one with 'fleetform token mint'.",
            AUTHENTICATION,
            "invalid_api_key",
        ),
        _mapper(
            _starts("jwt_authn_access_denied{Jwt_is_expired"),
            401,
            "The API key has expired. Mint a new one with 'fleetform token mint'.",
            AUTHENTICATION,
            "token_expired",
        ),
        _mapper(_starts("jwt_authn_access_denied"), 401, unknown, AUTHENTICATION, "invalid_api_key"),
        _mapper(
            _denied("revoked"),
            401,
            "The API key has been revoked. Mint a new one with 'fleetform token mint'.",
            AUTHENTICATION,
            "token_revoked",
        ),
        _mapper(_denied("wrong_scope"), 401, project, AUTHENTICATION, "wrong_scope"),
    ]


def _regions(settings: Settings) -> list[Json]:
    """One mapper per peer, so that the right host can be named, and one for a peer that this Envoy was not started with."""
    issuer = "metadata.filter_metadata['envoy.filters.http.jwt_authn']['payload']['iss']"
    mappers = []
    for peer in settings.peer_regions:
        message = f"This API key is of region '{peer.region}'; this gateway is in region '{settings.region}'. Send it to {peer.host}."
        condition = f"{_denied('wrong_region')} && {issuer} == '{peer.region}'"
        mappers.append(_mapper(condition, 401, message, AUTHENTICATION, "wrong_region"))
    claimed = "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:iss)%"
    message = f"This API key is of region '{claimed}'; this gateway is in region '{settings.region}'."
    return [*mappers, _mapper(_denied("wrong_region"), 401, message, AUTHENTICATION, "wrong_region")]


def _requests(settings: Settings) -> list[Json]:
    return [
        _mapper(
            _denied("endpoint_not_allowed"),
            403,
            "The API key may not call this: it is limited to other endpoints, or lacks the role inference.invoker.",
            PERMISSION,
            "endpoint_not_allowed",
        ),
        _mapper(_denied("not_json"), 400, "The body is not a JSON object.", INVALID, "invalid_json"),
        _mapper(
            _denied("missing_model"),
            400,
            "'model' is missing; it must be the name of an endpoint.",
            INVALID,
            "missing_model",
            param="model",
        ),
        _mapper(
            "response.code_details == 'cluster_not_found'",
            404,
            f"The model '{MODEL}' does not exist in project '{PROJECT_CLAIM}'.",
            INVALID,
            "model_not_found",
            param="model",
        ),
        _mapper("response.code == 408", 408, "The request did not arrive in time.", INVALID, "request_timeout"),
        _mapper("response.code == 413", 413, f"The body is larger than {settings.max_body_mib} MiB.", INVALID, "request_too_large"),
        _mapper("response.code == 431", 431, "The headers are too large or too many.", INVALID, "headers_too_large"),
        _mapper("response.code == 426", 426, "Use HTTP/1.1 or HTTP/2.", INVALID, "upgrade_required"),
    ]


def _upstream() -> list[Json]:
    return [
        _flags(
            ["UO"],
            429,
            "Too many requests are waiting for this endpoint.",
            RATE_LIMIT,
            "queue_full",
            ("retry-after", "2"),
        ),
        _flags(["OM"], 503, "The gateway is overloaded.", SERVER, "overloaded", ("retry-after", "2")),
        _flags(["UT", "UMSDR", "DT", "SI"], 504, "The endpoint did not answer in time.", SERVER, "request_timeout", NO_RETRY),
        _flags(["UPE"], 502, "The replica's answer could not be understood.", SERVER, "bad_gateway"),
        _flags(
            ["UH", "UF", "UC", "UR", "URX", "LR", "NC"],
            503,
            "No replica could take the request.",
            SERVER,
            "no_ready_replica",
            ("retry-after", "2"),
        ),
    ]


def _direct() -> Json:
    body = {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}, "content_type": "application/json"}
    return {"filter": _cel("response.code_details == 'direct_response'"), "body_format_override": body}


def _rest() -> list[Json]:
    """Whatever is left: broken HTTP, refused paths and header names, and faults of the gateway itself."""
    refused = "The request is not one that this gateway accepts (%RESPONSE_CODE_DETAILS%)."
    return [
        _mapper("response.code >= 400 && response.code < 500", None, refused, INVALID, "malformed_request"),
        _mapper("response.code >= 500", None, "The gateway failed (%RESPONSE_CODE_DETAILS%).", SERVER, "gateway_error"),
    ]


def _mapper(
    condition: str,
    status: int | None,
    message: str,
    type_: str,
    code: str,
    *headers: tuple[str, str],
    param: str | None = None,
) -> Json:
    return _map(_cel(condition), status, envelope(message, type_, code, param), headers)


def _flags(flags: list[str], status: int, message: str, type_: str, code: str, *headers: tuple[str, str]) -> Json:
    return _map({"response_flag_filter": {"flags": flags}}, status, envelope(message, type_, code), headers)


def _map(condition: Json, status: int | None, body: Json, headers: tuple[tuple[str, str], ...]) -> Json:
    mapper: Json = {"filter": condition, "body_format_override": {"json_format": body}}
    if status is not None:
        mapper["status_code"] = status
    if headers:
        action = "OVERWRITE_IF_EXISTS_OR_ADD"
        mapper["headers_to_add"] = [{"header": {"key": key, "value": value}, "append_action": action} for key, value in headers]
    return mapper


def _cel(expression: str) -> Json:
    config = {"@type": f"{EXTENSIONS}.access_loggers.filters.cel.v3.ExpressionFilter", "expression": expression}
    return {"extension_filter": {"name": "cel", "typed_config": config}}


def _starts(details: str) -> str:
    return f"response.code_details.startsWith('{details}')"


def _denied(name: str) -> str:
    return f"response.code_details == 'rbac_access_denied_matched_policy[{name}]'"
