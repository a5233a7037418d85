"""Row 25: an engine's port is taken meanwhile: the start fails, the next one gets another port, the stranger is never asked."""

import sys

from fleetform.domain.machine import EngineSpec
from fleetform.domain.protocol import HostReplicaState
from fleetform.domain.replica import FailureReason, Loopback
from tests.host.machine import STUB, Machine

S = HostReplicaState
SQUATTER = """
import http.server, sys
class Stranger(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "2"); self.end_headers(); self.wfile.write(b"{}")
    do_POST = do_GET
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Stranger).serve_forever()
"""


def an_engine(first_one_is_late: str) -> EngineSpec:
    """An engine on a port. Somebody else takes the port just before its first start; the path first_one_is_late remembers that."""
    script = f'if mkdir {first_one_is_late} 2>/dev/null; then setsid "$0" -c "$1" {{port}} & sleep 1; fi; shift; exec "$@"'
    engine = [sys.executable, "-S", str(STUB), "--port", "{port}", "--model-dir", "{model_dir}"]
    names = ["--served-name", "{served_name}", "--instance", "{instance}"]
    return EngineSpec(argv=["/bin/sh", "-c", script, sys.executable, SQUATTER.replace("{}", "{{}}"), *engine, *names], listen="port")


def test_row_25_a_taken_port_fails_the_start_and_the_next_start_gets_another(worker: Machine) -> None:
    engine = an_engine(str(worker.root / "late"))
    worker.start_replica("r1", engine=engine)
    failed = worker.await_state(S.EXITED, "r1")
    assert failed.failure in (FailureReason.CRASHED, FailureReason.WRONG_MODEL)
    assert "answers at the engine's address" in failed.message or any("address already in use" in line for line in failed.log_tail)
    again = worker.serving("r2", engine=engine)
    assert isinstance(again.address, Loopback)
    assert worker.ask(again).json()["choices"][0]["message"]["content"].startswith("n-r2")


def test_row_25_engines_that_can_take_a_socket_get_one(worker: Machine) -> None:
    """Two of them at once cannot collide: nothing of either listens on the network."""
    first, second = worker.serving("r1"), worker.serving("r2")
    assert first.address != second.address
    assert not isinstance(first.address, Loopback)
