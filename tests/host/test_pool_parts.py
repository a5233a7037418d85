"""The parts of the warm pool, each by itself: what an engine answers its host, what stays on a device, what two starts must share."""

import json
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from fleetform import settings
from fleetform.domain.machine import EngineSpec, Shape
from fleetform.domain.protocol import HostReport, StartReplica, StopReplica
from fleetform.domain.replica import Member
from fleetform.domain.rollout import Track
from fleetform.errors import SetupError
from fleetform.gateway.chain import INFERENCE_PATHS
from fleetform.host.engines import adapter_for
from fleetform.host.middleware import Message, RequestTimeout
from fleetform.host.pool import control, room
from fleetform.host.pool.sleeper import fingerprint
from tests.builders import a_host, a_manifest

H100_MIB = 81_559


class Engine:
    """vLLM's client of its own engine, as far as it is asked here."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.error = error
        self.in_use = False

    async def sleep(self, **how: Any) -> None:
        self.asked.append(("sleep", how))
        if self.error is not None:
            raise self.error

    async def wake_up(self) -> bool:
        self.asked.append(("wake_up", {}))
        return True

    async def reset_prefix_cache(self) -> bool:
        self.asked.append(("prefix", {}))
        return not self.in_use

    async def reset_mm_cache(self) -> None:
        self.asked.append(("mm", {}))

    async def reset_encoder_cache(self) -> None:
        self.asked.append(("encoder", {}))


async def through(engine: Engine | None, path: str, method: str = "POST", **headers: bytes) -> tuple[int, dict[str, Any]]:
    """What the middleware answers in front of an application that knows no path."""
    sent: list[Message] = []

    async def nothing(scope: Message, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"{}", "more_body": False})

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    state = SimpleNamespace() if engine is None else SimpleNamespace(engine_client=engine)
    listed = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "method": method, "headers": listed, "app": SimpleNamespace(state=state)}
    await RequestTimeout(nothing)(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.mark.anyio
async def test_the_host_has_the_engine_sleep_and_wake() -> None:
    engine = Engine()
    assert await through(engine, control.SLEEP) == (200, {"asleep": True})
    assert await through(engine, control.WAKE) == (200, {"asleep": False})
    assert engine.asked == [("sleep", {"level": 1, "mode": "wait"}), ("wake_up", {})]


@pytest.mark.anyio
async def test_the_host_has_the_engine_forget_what_it_was_asked() -> None:
    engine = Engine()
    assert (await through(engine, control.FORGET))[0] == 200
    assert [what for what, _ in engine.asked] == ["prefix", "mm", "encoder"]
    engine.in_use = True
    assert await through(engine, control.FORGET) == (500, {"error": "RuntimeError: the prefix cache is in use"})


@pytest.mark.anyio
@pytest.mark.parametrize("path", sorted(control.PATHS))
async def test_what_came_through_the_gateway_reaches_neither(path: str) -> None:
    """Envoy gives every request that header; and its list of paths has neither."""
    engine = Engine()
    assert (await through(engine, path, x_ff_timeout_s=b"30"))[0] == 404
    assert engine.asked == []
    assert path not in INFERENCE_PATHS


@pytest.mark.anyio
async def test_a_refusal_is_told_in_words() -> None:
    assert (await through(Engine(), control.SLEEP, method="GET"))[0] == 405
    assert (await through(None, control.WAKE))[0] == 501
    status, body = await through(Engine(RuntimeError("CUDA Error: out of memory")), control.SLEEP)
    assert (status, body) == (500, {"error": "RuntimeError: CUDA Error: out of memory"})


def a_track(**changes: Any) -> Track:
    made = Track(
        track_id="v1.0",
        variant="v1",
        model_version="m:v1",
        artifact="file:///models/m/",
        manifest=a_manifest(),
        engine="vllm",
        instance_type="gpu",
        shape=Shape(cpu_millis=500, memory_mib=5120, accelerator="h100", accelerator_count=1),
    )
    return msgspec.structs.replace(made, **changes)


def test_what_may_stay_leaves_room_for_what_an_engine_takes() -> None:
    """About a GiB stays of each: some fit on a large device, one on a small one."""
    assert 4 * 1024 < room.by_default(H100_MIB) < 0.08 * H100_MIB
    assert 1024 < room.by_default(24_564) < 2 * 1024
    assert room.beside(a_track(), H100_MIB) == room.by_default(H100_MIB)
    assert room.beside(a_track(engine_args={"gpu_memory_utilization": "0.5"}), H100_MIB) > room.by_default(H100_MIB)
    assert room.beside(a_track(engine_args={"gpu_memory_utilization": "1"}), H100_MIB) == 0
    assert room.beside(a_track(engine_args={"kv_cache_memory_bytes": "1"}), H100_MIB) == 0
    assert room.beside(a_track(command=EngineSpec(argv=["x", "{socket}"])), H100_MIB) == 0


def a_start(**changes: Any) -> StartReplica:
    made = StartReplica(
        replica_id="r1",
        project="acme",
        endpoint="chat",
        generation=1,
        nonce="n1",
        served_name="chat",
        track=a_track(),
        prefixes=("file:///models/",),
        members=(Member(host="host-1", devices=("GPU-1", "GPU-2")),),
        start_timeout_s=60,
        request_timeout_s=60,
        endpoint_uid="e1",
    )
    return msgspec.structs.replace(made, **changes)


def word(start: StartReplica, environ: dict[str, str] | None = None) -> str:
    return fingerprint(start, adapter_for(start.track), environ or {"PATH": "/bin"})


def test_replicas_of_the_same_have_the_same_word() -> None:
    """Neither the replica nor the generation makes the engine another, nor how long it may take."""
    other = a_start(replica_id="r2", nonce="n2", generation=7, start_timeout_s=10, request_timeout_s=10)
    assert word(other) == word(a_start()) != ""


@pytest.mark.parametrize(
    "other",
    [
        a_start(endpoint_uid="e2"),
        a_start(served_name="code"),
        a_start(prefixes=()),
        a_start(track=a_track(manifest=a_manifest("d2"))),
        a_start(track=a_track(engine_args={"max_num_seqs": "2"})),
        a_start(track=a_track(quantization="fp8")),
        a_start(track=a_track(allow_remote_code=True)),
        a_start(track=a_track(shape=Shape(cpu_millis=501, memory_mib=5120))),
        a_start(members=(Member(host="host-1", devices=("GPU-2", "GPU-1")),)),
        a_start(members=(Member(host="host-1"),)),
        a_start(members=(Member(host="host-1", devices=("GPU-1",)),)),
    ],
)
def test_whatever_differs_makes_another_word(other: StartReplica) -> None:
    assert word(other) != word(a_start())


def test_another_environment_or_other_software_makes_another_word(monkeypatch: pytest.MonkeyPatch) -> None:
    before = word(a_start())
    assert word(a_start(), {"PATH": "/bin", "LD_LIBRARY_PATH": "/opt"}) != before
    monkeypatch.setattr(metadata, "version", lambda name: "9.9")
    assert word(a_start()) != before


@pytest.mark.parametrize(
    "start",
    [
        a_start(endpoint_uid=""),
        a_start(track=a_track(command=EngineSpec(argv=["x", "{socket}"]))),
    ],
)
def test_what_cannot_be_kept_has_no_word(start: StartReplica) -> None:
    assert word(start) == ""


@pytest.mark.parametrize(("text", "mib"), [("", None), ("0", 0), ("4096", 4096)])
def test_the_pool_is_set_in_mib(tmp_path: Path, text: str, mib: int | None) -> None:
    found = settings.load({"FLEETFORM_HOME": str(tmp_path), "FLEETFORM_WARM_POOL_MIB": text, "FLEETFORM_WARM_POOL_S": "60"})
    assert (found.warm_pool_mib, found.warm_pool_s) == (mib, 60)


def test_a_wrong_pool_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="FLEETFORM_WARM_POOL_MIB is 'much'"):
        settings.load({"FLEETFORM_HOME": str(tmp_path), "FLEETFORM_WARM_POOL_MIB": "much"})


def test_a_server_or_a_host_that_knows_no_sleep_is_understood() -> None:
    """What either leaves out means that nothing is kept, and nobody is woken."""
    stop = msgspec.json.decode(b'{"type": "stop_replica", "replica_id": "r1", "drain_timeout_s": 0}', type=StopReplica)
    assert not stop.keep_warm
    older = {key: value for key, value in msgspec.to_builtins(a_start()).items() if key != "endpoint_uid"}
    assert word(msgspec.convert(older, StartReplica)) == ""
    report = HostReport(protocol_version=1, host="h", boot_id="b", instance="i", seq=1, full=True, epoch=1, capacity=a_host(), sleeping=())
    plain = {key: value for key, value in msgspec.to_builtins(report).items() if key != "sleeping"}
    assert msgspec.convert(plain, HostReport) == report
