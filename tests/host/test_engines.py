"""The command line and environment of each engine."""

import sys
from pathlib import Path

import msgspec
import pytest

from fleetform.domain.machine import EngineSpec, Shape
from fleetform.domain.model import Manifest, Task
from fleetform.domain.replica import Loopback, Unix
from fleetform.domain.rollout import Track
from fleetform.host.engines import adapter_for
from fleetform.host.engines.base import Launch, clean_environment
from tests.builders import a_manifest


def a_launch(*, devices: tuple[str, ...] = (), port: int | None = None, manifest: Manifest | None = None, **track: object) -> Launch:
    made = Track(
        track_id="v1.0",
        variant="v1",
        model_version="m:v1",
        artifact="file:///models/m/",
        manifest=manifest or msgspec.structs.replace(a_manifest(), context_length=8192),
        engine="vllm",
        instance_type="cpu-small",
        shape=Shape(cpu_millis=500, memory_mib=5120),
    )
    return Launch(
        served_name="chat",
        nonce="abc",
        track=msgspec.structs.replace(made, **track),
        model_dir=Path("/cache/m"),
        address=Unix(path="/run/r.sock") if port is None else Loopback(port=port),
        devices=devices,
        scratch=Path("/run/r.d"),
        cache=Path("/cache/engines"),
        compiled=Path("/cache/engines/compiled/0.32.0/cpu/0123"),
        cpu_threads=1,
        start_timeout_s=600,
    )


def argv_of(launch: Launch) -> tuple[str, ...]:
    return adapter_for(launch.track).argv(launch)


def value_of(argv: tuple[str, ...], flag: str) -> str:
    return argv[argv.index(flag) + 1]


def test_vllm_listens_on_its_socket_under_both_names() -> None:
    argv = argv_of(a_launch())
    assert argv[:3] == (sys.executable, "-m", "vllm.entrypoints.openai.api_server")
    names = argv.index("--served-model-name")
    assert argv[names + 1 : names + 3] == ("chat", "ff-abc")
    assert value_of(argv, "--uds") == "/run/r.sock"
    assert value_of(argv, "--load-format") == "safetensors"
    assert value_of(argv, "--shutdown-timeout") == "10"
    assert value_of(argv, "--middleware") == "fleetform.host.middleware.RequestTimeout"
    assert {"--no-enable-log-requests", "--no-trust-remote-code", "--disable-uvicorn-access-log"} <= set(argv)


def test_remote_code_runs_only_where_it_was_allowed() -> None:
    argv = argv_of(a_launch(allow_remote_code=True))
    assert "--trust-remote-code" in argv
    assert "--no-trust-remote-code" not in argv


@pytest.mark.parametrize(("context", "expected"), [(512, "512"), (131_072, "2048")])
def test_a_cpu_replica_is_made_to_fit(context: int, expected: str) -> None:
    argv = argv_of(a_launch(manifest=msgspec.structs.replace(a_manifest(), context_length=context)))
    assert value_of(argv, "--max-model-len") == expected
    assert "--enforce-eager" in argv
    assert value_of(argv, "--kv-cache-memory-bytes") == str(2**30)


def test_arguments_of_the_track_override_ours() -> None:
    argv = argv_of(a_launch(engine_args={"max_model_len": "4096", "enforce_eager": "false"}))
    assert value_of(argv, "--max-model-len") == "4096"
    assert argv.count("--max-model-len") == 1
    assert "--no-enforce-eager" in argv


def test_an_embedding_model_runs_as_a_pooling_model() -> None:
    manifest = msgspec.structs.replace(a_manifest(), task=Task.EMBED, context_length=512)
    argv = argv_of(a_launch(manifest=manifest))
    assert value_of(argv, "--runner") == "pooling"
    assert "--max-model-len" not in argv


def test_a_gpu_replica_takes_all_its_devices_by_uuid() -> None:
    launch = a_launch(devices=("GPU-1", "GPU-2"), quantization="awq")
    argv = argv_of(launch)
    assert value_of(argv, "--tensor-parallel-size") == "2"
    assert value_of(argv, "--quantization") == "awq"
    assert "--enforce-eager" not in argv
    assert clean_environment(launch, {})["CUDA_VISIBLE_DEVICES"] == "GPU-1,GPU-2"
    split = argv_of(a_launch(devices=("GPU-1", "GPU-2"), engine_args={"pipeline_parallel_size": "2"}))
    assert "--tensor-parallel-size" not in split


def test_vllm_is_told_that_it_may_be_put_to_sleep() -> None:
    launch = a_launch(devices=("GPU-1",))
    assert "--enable-sleep-mode" not in argv_of(launch)
    assert "--enable-sleep-mode" in argv_of(msgspec.structs.replace(launch, sleeps=True))


def test_no_secret_and_no_proxy_passes_into_an_engine() -> None:
    environ = {
        "PATH": "/bin",
        "HOME": "/root",
        "AWS_SECRET_ACCESS_KEY": "s",
        "HF_TOKEN": "s",
        "FLEETFORM_TOKEN": "s",
        "HTTPS_PROXY": "http://p",
        "VLLM_SERVER_DEV_MODE": "1",
        "PYTHONPATH": "/evil",
    }
    launch = a_launch()
    env = clean_environment(launch, environ) | adapter_for(launch.track).env(launch)
    assert env["PATH"] == "/bin"
    assert env["HOME"] == "/cache/engines"
    assert not {"AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "FLEETFORM_TOKEN", "HTTPS_PROXY", "VLLM_SERVER_DEV_MODE", "PYTHONPATH"} & env.keys()
    assert env["HF_HUB_OFFLINE"] == "1"


def test_a_declared_engine_gets_its_words_filled_in() -> None:
    spec = EngineSpec(argv=["serve", "{model_dir}", "--at={socket}{port}", "{served_name}/{instance}", "{context_length}"])
    argv = argv_of(a_launch(command=spec))
    assert argv == ("serve", "/cache/m", "--at=/run/r.sock", "chat/abc", "8192")
    on_port = EngineSpec(argv=["serve", "{port}"], listen="port")
    assert argv_of(a_launch(port=4711, command=on_port)) == ("serve", "4711")


def test_a_declared_engine_is_openai_on_a_socket_unless_it_says_otherwise() -> None:
    plain = adapter_for(a_launch(command=EngineSpec(argv=["x", "{socket}"])).track)
    assert (plain.speaks_openai, plain.on_port, plain.health_path) == (True, False, "/health")
    raw = EngineSpec(argv=["x", "{port}"], routes="raw", listen="port", health_path="/v2/health/ready")
    declared = adapter_for(a_launch(command=raw).track)
    assert (declared.speaks_openai, declared.on_port, declared.health_path) == (False, True, "/v2/health/ready")
