"""F14: schemathesis, all phases, against the running server: no finding.

The server is a real one on the fake driver, and the document the one that it serves. The caller is a region administrator, so that nothing
hides behind a 403. Two runs: one invents every name, the other stays in a project that exists, and so gets further.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.report import report
from tests.harness.server import Server

SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))
PHASES = "examples,coverage,fuzzing,stateful"
EXAMPLES = 50
SEED = 14
CHECKS = """
[checks.positive_data_acceptance]
# What the document cannot say: names that must exist (404, 422), rules between fields (422), quotas and references (409), If-Match (412).
expected-statuses = ["2xx", "404", "409", "412", "422"]
"""
KNOWN_NAMES = """
[parameters]
"path.project" = "acme"
"path.name" = ["chat", "app", "cpu-small", "other"]
"path.model" = "m"
"path.version" = ["v1", "v2"]
"path.instance_type" = "cpu-small"
"path.principal" = "token:acme:app"
"""
THINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/projects/acme", {"artifact_prefixes": ["file:///models/"]}),
    ("/v1/projects/acme/quotas/cpu-small", {"max_replicas": 5}),
    ("/v1/projects/acme/model-versions/m/v1", {"artifact": "file:///models/m/", "framework": "pytorch", "runtime": "cpu"}),
    ("/v1/projects/acme/endpoints/chat", {"instance_type": "cpu-small", "variants": {"v1": {"model_version": "m:v1"}}}),
    ("/v1/projects/acme/tokens/app", {"roles": ["inference.invoker"]}),
)


def main() -> None:
    """Run both and count what was found."""
    with Server() as server, tempfile.TemporaryDirectory() as folder:
        _make_things(server)
        runs = [_run(server, Path(folder), config) for config in (CHECKS, CHECKS + KNOWN_NAMES)]
    findings = sum(failure["count"] for run in runs for failure in run["failures"]) + sum(len(run["errors"]) for run in runs)
    assert all(run["complete"] for run in runs), [run["stop_reason"] for run in runs]
    asked = sum(run["test_cases"]["generated"] for run in runs)
    tested = min(run["operations"]["tested"] for run in runs)
    words = f"in {asked} requests to {tested} operations by schemathesis {runs[0]['schemathesis_version']}"
    report("F14", findings, 0, f"{findings} findings", words, at_most=True)


def _run(server: Server, folder: Path, config: str) -> dict[str, Any]:
    """schemathesis' own report of one run."""
    (folder / "schemathesis.toml").write_text(config)
    words = ["--config-file", str(folder / "schemathesis.toml"), "run", f"{server.base_url}/schema/openapi.json", "--no-color"]
    words += ["--header", f"Authorization: Bearer {server.token}", "--phases", PHASES, "--checks", "all", "--continue-on-failure"]
    words += ["--max-examples", str(EXAMPLES), "--seed", str(SEED), "--report", "json", "--report-json-path", str(folder / "report.json")]
    subprocess.run([SCHEMATHESIS, *words], cwd=folder, check=False)
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def _make_things(server: Server) -> None:
    """Something for the generated requests to meet."""
    with httpx2.Client(base_url=server.base_url, headers={"authorization": f"Bearer {server.token}"}, timeout=30) as client:
        for path, spec in THINGS:
            answer = client.put(path, json={"spec": spec})
            assert answer.is_success, answer.text


if __name__ == "__main__":
    main()
