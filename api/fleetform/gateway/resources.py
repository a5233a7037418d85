"""What Envoy is sent for one route: its cluster (CDS) and the cluster's assignment (EDS), as protos built directly.

The settings are those tried in the field notes; each guards a request that would otherwise be lost:
overprovisioning_factor   the activator gets nothing while one replica of a track lives
healthy_panic 1 %         an ejected replica gets nothing while anything else is left, the activator too; an activator that was
                          killed is tried again at once
LEAST_REQUEST             a slow replica is busy, and gets little, until we take it out (outliers.py): Envoy has no ejection by latency. A
                          dead one is ejected before it attracts
max_retries               the default of 3 per cluster makes a retry policy useless when a host dies
idle_timeout 4 s          engines close an idle connection after 5 s
"""

from typing import Any

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from envoy.config.common.matcher.v3 import matcher_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2, health_check_pb2, protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import any_pb2, duration_pb2, wrappers_pb2

from fleetform.domain.replica import Address, Loopback, Unix
from fleetform.gateway.snapshot import EndpointRoute, Target, TrackRoute

METADATA = "ff"
"""Our namespace in Envoy's metadata."""
VLLM, COMMAND = "vllm", "command"
"""Kinds of engines, as the metadata of a cluster tells them."""
ACTIVATOR_HEADER = "x-ff-activator"
"""Set on every answer of the activator, so that its 503s never eject it."""
ANSWER_BUFFER = 128 << 10
"""Bytes of an answer that are held for a slow reader, on either side of Envoy, before the replica has to wait."""
TYPE_CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
TYPE_ASSIGNMENT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_NO_LIMIT = 100_000
_IDLE_S = 4


def cluster(route: EndpointRoute) -> Any:
    """The Cluster of route. It changes only with the endpoint's time limit, log setting or kind of engine."""
    message = cluster_pb2.Cluster(
        name=route.key,
        type=cluster_pb2.Cluster.EDS,
        eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(
            eds_config=config_source_pb2.ConfigSource(ads=config_source_pb2.AggregatedConfigSource(), resource_api_version="V3")
        ),
        lb_policy=cluster_pb2.Cluster.LEAST_REQUEST,
        connect_timeout=_seconds(1),
        per_connection_buffer_limit_bytes=wrappers_pb2.UInt32Value(value=ANSWER_BUFFER),
        ignore_health_on_host_removal=True,
        metadata=_metadata(
            project=route.project,
            endpoint=route.endpoint,
            timeout_s=str(route.request_timeout_s),
            log=route.log_content,
            engine=COMMAND if route.command_engine else VLLM,
        ),
        common_lb_config=_LB_CONFIG,
        circuit_breakers=_CIRCUIT_BREAKERS,
        outlier_detection=_OUTLIER_DETECTION,
    )
    limit_s = route.request_timeout_s if route.command_engine else None
    message.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(_http_options(limit_s))
    return message


def assignment(route: EndpointRoute, activator_socket: str, out: frozenset[str] = frozenset()) -> Any:
    """The ClusterLoadAssignment of route: one locality per track at priority 0, the activator at priority 1.

    Envoy wants priority 0 to exist: with no replica at all the activator stands there. out: replicas that hang, or are ejected.
    """
    localities = [_locality(track, out) for track in route.tracks if track.targets]
    activator = endpoint_components_pb2.LocalityLbEndpoints(
        priority=1 if localities else 0,
        locality=base_pb2.Locality(zone="activator"),
        load_balancing_weight=wrappers_pb2.UInt32Value(value=1),
        lb_endpoints=[_host(Unix(path=activator_socket), replica="activator")],
    )
    return endpoint_pb2.ClusterLoadAssignment(
        cluster_name=route.key,
        policy=endpoint_pb2.ClusterLoadAssignment.Policy(overprovisioning_factor=wrappers_pb2.UInt32Value(value=100_000)),
        endpoints=[*localities, activator],
    )


def pack(message: Any) -> Any:
    """message as an Any with deterministic bytes, so that the same content has the same version."""
    packed = any_pb2.Any()
    packed.Pack(message, deterministic=True)
    return packed


def _locality(track: TrackRoute, out: frozenset[str]) -> Any:
    """A weight of 0 is a locality without one, which Envoy gives nothing as long as another has a living host."""
    weight = wrappers_pb2.UInt32Value(value=track.weight) if track.weight else None
    return endpoint_components_pb2.LocalityLbEndpoints(
        priority=0,
        locality=base_pb2.Locality(zone=track.track),
        load_balancing_weight=weight,
        lb_endpoints=[_target(target, track, out) for target in track.targets],
    )


def _target(target: Target, track: TrackRoute, out: frozenset[str]) -> Any:
    """At weight 0 the target is marked like a draining one: otherwise it would step in when every weighted track has died."""
    host = _host(target.address, replica=target.replica_id, track=track.track, version=track.version)
    if target.draining or track.weight == 0:
        host.health_status = health_check_pb2.DRAINING
    elif target.replica_id in out:
        host.health_status = health_check_pb2.UNHEALTHY
    return host


def _host(address: Address, replica: str, track: str = "", version: str = "") -> Any:
    """The access log names its three words."""
    return endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=_address(address)),
        metadata=_metadata(replica=replica, track=track, version=version),
    )


def _address(address: Address) -> Any:
    match address:
        case Unix(path=path):
            return address_pb2.Address(pipe=address_pb2.Pipe(path=path))
        case Loopback(port=port):
            return address_pb2.Address(socket_address=address_pb2.SocketAddress(address="127.0.0.1", port_value=port))
        case _:
            raise ValueError(f"snapshot.problems lets no {type(address).__name__} address through")


def _http_options(limit_s: int | None) -> Any:
    """limit_s: the longest a whole answer may take, for engines that carry no middleware of ours."""
    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.CopyFrom(_HTTP)
    if limit_s is not None:
        options.common_http_protocol_options.max_stream_duration.seconds = limit_s
    return pack(options)


def _metadata(**fields: str) -> Any:
    message = base_pb2.Metadata()
    message.filter_metadata[METADATA].update(fields)
    return message


def _seconds(value: int) -> Any:
    return duration_pb2.Duration(seconds=value)


def _error_matcher() -> Any:
    """A 502, 503 or 504 counts against a host, unless the activator says it."""
    from_activator = route_components_pb2.HeaderMatcher(name=ACTIVATOR_HEADER, present_match=True)
    regex = string_pb2.StringMatcher(safe_regex={"regex": "50[234]"})
    failed = route_components_pb2.HeaderMatcher(name=":status", string_match=regex)
    match, headers = matcher_pb2.MatchPredicate, matcher_pb2.HttpHeadersMatch
    return match(
        and_match=match.MatchSet(
            rules=[
                match(not_match=match(http_response_headers_match=headers(headers=[from_activator]))),
                match(http_response_headers_match=headers(headers=[failed])),
            ]
        )
    )


_HTTP = http_protocol_options_pb2.HttpProtocolOptions(
    explicit_http_config=http_protocol_options_pb2.HttpProtocolOptions.ExplicitHttpConfig(
        http_protocol_options=protocol_pb2.Http1ProtocolOptions()
    ),
    common_http_protocol_options=protocol_pb2.HttpProtocolOptions(idle_timeout=_seconds(_IDLE_S)),
    outlier_detection=http_protocol_options_pb2.HttpProtocolOptions.OutlierDetection(error_matcher=_error_matcher()),
)

_LB_CONFIG = cluster_pb2.Cluster.CommonLbConfig(
    healthy_panic_threshold={"value": 1}, locality_weighted_lb_config=cluster_pb2.Cluster.CommonLbConfig.LocalityWeightedLbConfig()
)

_CIRCUIT_BREAKERS = circuit_breaker_pb2.CircuitBreakers(
    thresholds=[
        circuit_breaker_pb2.CircuitBreakers.Thresholds(
            max_connections=wrappers_pb2.UInt32Value(value=_NO_LIMIT),
            max_pending_requests=wrappers_pb2.UInt32Value(value=_NO_LIMIT),
            max_requests=wrappers_pb2.UInt32Value(value=_NO_LIMIT),
            max_retries=wrappers_pb2.UInt32Value(value=10_000),
        )
    ]
)

_OUTLIER_DETECTION = outlier_detection_pb2.OutlierDetection(
    consecutive_5xx=wrappers_pb2.UInt32Value(value=1_000_000),
    consecutive_gateway_failure=wrappers_pb2.UInt32Value(value=3),
    enforcing_consecutive_gateway_failure=wrappers_pb2.UInt32Value(value=100),
    enforcing_success_rate=wrappers_pb2.UInt32Value(value=0),
    interval=_seconds(1),
    base_ejection_time=_seconds(5),
    max_ejection_percent=wrappers_pb2.UInt32Value(value=100),
    split_external_local_origin_errors=True,
    consecutive_local_origin_failure=wrappers_pb2.UInt32Value(value=2),
    enforcing_consecutive_local_origin_failure=wrappers_pb2.UInt32Value(value=100),
)
