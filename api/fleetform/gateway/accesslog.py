"""The access log: one JSON object per request, in a file. It never holds a path's query, a body, a key or a header's text.

An endpoint with `logging.content: off` keeps two groups only. AUDIT_FIELDS: who called what, when, with which outcome and how many tokens.
MEASURED_FIELDS: how its replica did, in ids and times, by which versions and replicas are compared.
"""

from typing import Any

from fleetform.gateway.chain import EXTENSIONS, PROJECT_CLAIM, TOKEN_CLAIM
from fleetform.settings import Settings

Json = dict[str, Any]

AUDIT_FIELDS = {
    "time": "%START_TIME%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "project": PROJECT_CLAIM,
    "token": TOKEN_CLAIM,
    "credential": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:jti)%",
    "route": "%ROUTE_NAME%",
    "endpoint": "%METADATA(CLUSTER:ff:endpoint)%",
    "version": "%METADATA(UPSTREAM_HOST:ff:version)%",
    "status": "%RESPONSE_CODE%",
    "latency_ms": "%DURATION%",
    "usage": "%DYNAMIC_METADATA(ff.usage)%",
}
MEASURED_FIELDS = {
    "replica": "%METADATA(UPSTREAM_HOST:ff:replica)%",
    "track": "%METADATA(UPSTREAM_HOST:ff:track)%",
    "flags": "%RESPONSE_FLAGS%",
    "stream": "%TYPED_CEL('content-type' in response.headers && response.headers['content-type'].startsWith('text/event-stream'))%",
    # From where the last attempt was handed to the replica: without the time that the activator held it or other replicas lost.
    "replica_ttft_ms": "%COMMON_DURATION(US_TX_BEG:US_RX_BEG:ms)%",
    "replica_latency_ms": "%COMMON_DURATION(US_TX_BEG:DS_TX_END:ms)%",
}
TECHNICAL_FIELDS = {
    "ttft_ms": "%RESPONSE_DURATION%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "protocol": "%PROTOCOL%",
}


def access_log(settings: Settings) -> list[Json]:
    """Two writers into one file: all fields, or those of endpoints that keep no more."""
    setting = "xds.cluster_metadata.filter_metadata['ff']['log']"
    path = str(settings.access_log)
    return [
        _writer(path, AUDIT_FIELDS | MEASURED_FIELDS, _cel(f"{setting} == 'off'")),
        # An expression that touches an absent value is an error, and an error writes nothing: so absence is asked for first.
        _writer(path, AUDIT_FIELDS | MEASURED_FIELDS | TECHNICAL_FIELDS, _cel(f"!has(xds.cluster_metadata) || {setting} != 'off'")),
    ]


def _writer(path: str, fields: dict[str, str], only: Json) -> Json:
    config = {
        "@type": f"{EXTENSIONS}.access_loggers.file.v3.FileAccessLog",
        "path": path,
        "log_format": {"json_format": fields, "omit_empty_values": False},
    }
    not_health: Json = {"not_health_check_filter": {}}
    return {"name": "file", "typed_config": config, "filter": {"and_filter": {"filters": [not_health, only]}}}


def _cel(expression: str) -> Json:
    config = {"@type": f"{EXTENSIONS}.access_loggers.filters.cel.v3.ExpressionFilter", "expression": expression}
    return {"extension_filter": {"name": "cel", "typed_config": config}}
