"""The control API as a running server: it does what its document says, and it outlives a large body and a database that goes away."""

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.harness.server import Server
from tests.harness.waiting import until

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(240)]
CONFIG = """
[checks.positive_data_acceptance]
# What the document cannot say: names that must exist (404, 422), rules between fields (422), quotas and references (409), If-Match (412).
expected-statuses = ["2xx", "404", "409", "412", "422"]
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.base_url, headers={"authorization": f"Bearer {server.token}"}, timeout=60) as made:
        yield made


def test_the_server_does_what_its_document_says(server: Server, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    words = ["--config-file", str(tmp_path / "schemathesis.toml"), "run", f"{server.base_url}/schema/openapi.json", "--no-color"]
    words += [
        "--header",
        f"Authorization: Bearer {server.token}",
        "--phases",
        "examples,coverage",
        "--checks",
        "all",
        "--max-examples",
        "3",
    ]
    words += ["--seed", "8", "--report", "json", "--report-json-path", str(tmp_path / "report.json")]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("schemathesis")), *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    found = json.loads((tmp_path / "report.json").read_text())
    assert (found["failures"], found["errors"]) == ([], []), done.stdout[-4000:]
    assert found["operations"]["tested"] == found["operations"]["total"] > 30


def test_a_body_of_100_mb_is_refused_before_it_is_sent(server: Server) -> None:
    connection = http.client.HTTPConnection(server.base_url.removeprefix("http://"), timeout=30)
    connection.putrequest("PUT", "/v1/projects/system/endpoints/chat")
    for name, value in (("authorization", f"Bearer {server.token}"), ("content-type", "application/json"), ("content-length", 100 << 20)):
        connection.putheader(name, value)
    connection.endheaders()
    refused = connection.getresponse()
    assert (refused.status, json.loads(refused.read())["type"].rpartition("/")[2]) == (413, "too-large")
    connection.close()


def test_a_body_that_grows_to_100_mb_is_refused(server: Server, client: httpx2.Client) -> None:
    refused = client.put(
        "/v1/projects/system/endpoints/chat",
        content=(b" " * (1 << 20) for _ in range(100)),
        headers={"content-type": "application/json"},
    )
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (413, "too-large")
    assert client.get("/v1/projects/system/endpoints/chat").status_code == 404


def test_a_database_that_goes_away_is_told_and_comes_back(server: Server, client: httpx2.Client) -> None:
    database = server._children[0]
    database.send_signal(signal.SIGINT)
    database.wait(timeout=30)
    server._children.remove(database)
    try:
        refused = client.get("/v1/projects")
        assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (503, "unavailable")
        assert int(refused.headers["retry-after"]) > 0
        assert (client.get("/readyz").status_code, client.get("/healthz").status_code) == (503, 200)
    finally:
        server._start_postgres()
        # Children are stopped from the last to the first, and PostgreSQL waits for its clients.
        server._children.insert(0, server._children.pop())
    until("the database is back", lambda: client.get("/v1/projects").status_code == 200, timeout_s=60)
    assert server.process.poll() is None
