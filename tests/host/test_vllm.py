"""The vllm adapter against vLLM itself: one engine at a time, a two-layer model, on the CPU."""

import contextlib
import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from fleetform.domain.load import EngineLoad, Histogram, HostLoad, Windows
from fleetform.domain.model import Task
from fleetform.domain.protocol import HostReplica, HostReplicaState
from fleetform.host import processes
from fleetform.host.processes import Identity
from tests.engines.tiny_models import write_tiny_chat_model, write_tiny_embedding_model
from tests.harness.waiting import until
from tests.host.machine import Machine, identity_of

S = HostReplicaState
START_TIMEOUT_S = 500

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


def test_a_chat_model_serves_times_out_and_drains(worker: Machine) -> None:
    folder = worker.root / "models" / "tiny"
    write_tiny_chat_model(folder, seed=1)
    replica = start(worker, folder, Task.GENERATE)
    leader = identity_of(replica)

    answer = ask(replica, "chat/completions", messages=[{"role": "user", "content": "my-secret-prompt"}], max_tokens=4)
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] == 4

    # The limit of a request is enforced inside, and the engine never works on what nobody waits for.
    before = tokens_made(replica)
    with paused_engine(worker, leader):
        late = ask(replica, "completions", timeout_s="1", **LONG)
        assert (late.status_code, late.json()["error"]["code"]) == (504, "request_timeout")
    ask(replica, "completions", prompt="a", max_tokens=1)
    assert tokens_made(replica) - before < LONG["max_tokens"]

    # The host knows how the engine does, and how its streams flow.
    since = (datetime.now(UTC) - timedelta(minutes=2)).isoformat()
    with client(replica) as http:
        body = {"model": "chat", "stream": True, **LONG, "max_tokens": 40, "min_tokens": 40}
        with http.stream("POST", "/v1/completions", json=body, headers={"x-ff-timeout-s": "60"}) as stream:
            parts = [line for line in stream.iter_lines() if line]
            assert parts[-1] == "data: [DONE]"
    engine = until("the engine is known", lambda: told(worker, tokens_mean=1.0), timeout_s=60)
    assert (engine.running, engine.waiting, engine.kv_usage) == (0, 0, 0.0)
    assert engine.token_capacity is not None
    assert engine.token_capacity >= 2048
    assert engine.memory_mib is not None
    assert 300 < engine.memory_mib < 8000
    gaps = until("its stream is counted", lambda: gaps_of(worker, since), timeout_s=30)
    assert gaps.total == len(parts) - 1, "tokens that come faster than they can be sent share a part"
    slowest = gaps.quantile_ms(1.0)
    assert slowest is not None
    assert 0 < slowest < 30_000

    # A stop lets what runs finish, then the whole group is gone.
    with client(replica) as http, http.stream("POST", "/v1/completions", json={"model": "chat", "stream": True, **LONG}) as stream:
        lines = (line for line in stream.iter_lines() if line)
        assert next(lines).startswith("data: {")
        with paused_engine(worker, leader):
            worker.stop_replica()
            until("the engine was told", lambda: "shutdown triggered" in "\n".join(worker.log_lines()))
        assert list(lines)[-1] == "data: [DONE]"
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
    parser: Any = make_arg_parser(FlexibleArgumentParser())  # type: ignore[no-untyped-call]  # vLLM leaves it untyped
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


LONG: dict[str, Any] = {"prompt": "a", "max_tokens": 480, "min_tokens": 480, "ignore_eos": True}


@contextlib.contextmanager
def paused_engine(worker: Machine, leader: Identity) -> Iterator[None]:
    """Stop every process of the replica but the one that answers; vLLM's health stays good all the while."""
    engine = [member for member in processes.group(leader, worker.root).ours if member != leader]
    for member in engine:
        processes.send(member, signal.SIGSTOP)
    try:
        yield
    finally:
        for member in engine:
            processes.send(member, signal.SIGCONT)


def told(worker: Machine, tokens_mean: float) -> EngineLoad | None:
    """What the engine has said, once it has ended requests of at least so many tokens on average and its memory is known."""
    load = msgspec.json.decode(worker.call("GET", "/v1/load").content, type=HostLoad)
    found = next((engine for engine in load.engines if engine.memory_mib is not None and engine.running == 0), None)
    return found if found is not None and (found.prompt_tokens_mean or 0.0) >= tokens_mean else None


def gaps_of(worker: Machine, since: str) -> Histogram | None:
    answer = worker.call("GET", "/v1/gateway/windows", key="acme/chat", since=since)
    tracks = msgspec.json.decode(answer.content, type=Windows).tracks
    return tracks[0].gaps if tracks and tracks[0].gaps.total else None


def tokens_made(replica: HostReplica) -> int:
    with client(replica) as http:
        lines = http.get("/metrics").text.splitlines()
    return int(float(next(line for line in lines if line.startswith("vllm:generation_tokens_total")).split()[-1]))


def client(replica: HostReplica) -> httpx2.Client:
    path = getattr(replica.address, "path", None)
    return httpx2.Client(transport=httpx2.HTTPTransport(uds=path), base_url="http://engine", timeout=120)
