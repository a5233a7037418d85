"""The vllm adapter against vLLM itself: one engine at a time, a two-layer model, on the CPU."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fleetform.domain.model import Task
from fleetform.domain.protocol import HostReplica, HostReplicaState
from fleetform.host import processes
from tests.engines.tiny_models import write_tiny_chat_model, write_tiny_embedding_model
from tests.harness.waiting import until
from tests.host.machine import Machine, identity_of

S = HostReplicaState
START_TIMEOUT_S = 240

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def test_a_chat_model_serves_times_out_and_drains(worker: Machine) -> None:
    folder = worker.root / "models" / "tiny"
    write_tiny_chat_model(folder, seed=1)
    replica = start(worker, folder, Task.GENERATE)
    leader = identity_of(replica)

    answer = ask(replica, "chat/completions", messages=[{"role": "user", "content": "my-secret-prompt"}], max_tokens=4)
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] == 4

    # The limit of a request is enforced inside, and the engine stops working on it.
    started = time.monotonic()
    late = ask(replica, "completions", timeout_s="1", prompt="a", max_tokens=500, ignore_eos=True, min_tokens=500)
    assert (late.status_code, late.json()["error"]["code"]) == (504, "request_timeout")
    assert time.monotonic() - started < 5
    until("the engine dropped the request", lambda: "vllm:num_requests_running" in metrics(replica) and running(replica) == 0)

    # A stop lets what runs finish, then the whole group is gone.
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(ask, replica, "completions", prompt="a", max_tokens=200, ignore_eos=True, min_tokens=200)
        until("it runs", lambda: running(replica) == 1)
        worker.stop_replica()
        assert under_way.result().json()["usage"]["completion_tokens"] == 200
    gone = worker.await_state(S.EXITED, timeout_s=40)
    assert gone.failure is None
    assert processes.group(leader, worker.root).ours == ()
    assert "my-secret-prompt" not in "\n".join(worker.log_lines(lines=5000))


def test_an_embedding_model_serves(worker: Machine) -> None:
    folder = worker.root / "models" / "minilm"
    write_tiny_embedding_model(folder)
    replica = start(worker, folder, Task.EMBED)
    answer = ask(replica, "embeddings", input=["one", "two"])
    assert [len(item["embedding"]) for item in answer.json()["data"]] == [384, 384]


def test_what_vllm_says_before_it_dies_reaches_the_report(worker: Machine) -> None:
    folder = worker.root / "models" / "odd"
    write_tiny_chat_model(folder, seed=1)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["NoSuchForCausalLM"]}))
    manifest = worker.verify(f"file://{folder}/").manifest
    assert manifest is not None
    worker.command(worker.start_command("r1", f"file://{folder}/", manifest, start_timeout_s=START_TIMEOUT_S))
    failed = worker.await_state(S.EXITED, timeout_s=START_TIMEOUT_S)
    assert failed.failure is not None
    assert failed.failure.value == "Crashed"
    assert any("NoSuchForCausalLM" in line for line in failed.log_tail)


def test_every_argument_that_may_be_set_is_one_of_vllm() -> None:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    from fleetform.domain.engine_args import ALLOWED, flags

    examples = {
        "default_chat_template_kwargs": "{}",
        "speculative_config": '{"method": "ngram", "num_speculative_tokens": 2}',
        "tool_call_parser": "hermes",
        "reasoning_parser": "qwen3",
    }
    candidates = ["true", "1", "0.5", "auto", "fcfs", "fp8", "balanced", "vllm"]
    args = {name: examples.get(name) or next(c for c in candidates if check(c) is None) for name, check in ALLOWED.items()}
    parser: Any = make_arg_parser(FlexibleArgumentParser())  # type: ignore[no-untyped-call]
    parsed = parser.parse_args(["--model", "m", *flags(args)])
    assert all(hasattr(parsed, name) for name in ALLOWED)


def start(worker: Machine, folder: Path, task: Task) -> HostReplica:
    manifest = worker.verify(f"file://{folder}/").manifest
    assert manifest is not None
    assert manifest.task is task
    worker.command(worker.start_command("r1", f"file://{folder}/", manifest, start_timeout_s=START_TIMEOUT_S))
    return worker.await_state(S.SERVING, timeout_s=START_TIMEOUT_S)


def ask(replica: HostReplica, path: str, timeout_s: str | None = None, **body: Any) -> httpx2.Response:
    with client(replica) as http:
        headers = {} if timeout_s is None else {"x-ff-timeout-s": timeout_s}
        return http.post(f"/v1/{path}", json={"model": "chat", **body}, headers=headers)


def metrics(replica: HostReplica) -> str:
    with client(replica) as http:
        return http.get("/metrics").text


def running(replica: HostReplica) -> int:
    line = next(line for line in metrics(replica).splitlines() if line.startswith("vllm:num_requests_running"))
    return int(float(line.split()[-1]))


def client(replica: HostReplica) -> httpx2.Client:
    path = getattr(replica.address, "path", None)
    return httpx2.Client(transport=httpx2.HTTPTransport(uds=path), base_url="http://engine", timeout=120)
