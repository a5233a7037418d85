"""Values for tests, with everything that a test does not care about filled in."""

from datetime import UTC, datetime

from fleetform.domain.effective import EffectiveEndpoint, EffectiveSlo, EffectiveVariant
from fleetform.domain.load import Histogram, TrackWindow, cell_of
from fleetform.domain.machine import Device, HostCapacity, Shape
from fleetform.domain.model import Manifest, ManifestFile, ModelFormat, Task
from fleetform.domain.protocol import StartReplica
from fleetform.domain.replica import Member
from fleetform.domain.rollout import Track

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GPU_SHAPE = Shape(cpu_millis=4000, memory_mib=16_384, accelerator="a10", accelerator_count=1, accelerator_memory_mib=22_000)
CPU_SHAPE = Shape(cpu_millis=500, memory_mib=5_120)


def a_manifest(digest: str = "d1", size: int = 1_000_000) -> Manifest:
    file = ManifestFile(path="model.safetensors", size=size, sha256="0" * 64)
    return Manifest(digest=digest, files=(file,), format=ModelFormat.SAFETENSORS, task=Task.GENERATE)


def a_host(name: str = "host-1", gpus: int = 0, kind: str = "a10", cpu_millis: int = 64_000, memory_mib: int = 512_000) -> HostCapacity:
    devices = tuple(
        Device(uuid=f"GPU-{name}-{index}", kind=kind, memory_mib=24_000, memory_free_idle_mib=23_900, index=index) for index in range(gpus)
    )
    return HostCapacity(host=name, cpu_millis=cpu_millis, memory_mib=memory_mib, devices=devices)


def effective_endpoint(
    weights: dict[str, int] | None = None,
    replicas: int = 1,
    *,
    args: dict[str, dict[str, str]] | None = None,
    instance_type: str = "cpu-small",
    steps: tuple[int, ...] = (100,),
    step_hold_s: int = 0,
    bake_s: int = 600,
    request_timeout_s: int = 300,
    retry: str = "",
    strategy: str = "surge",
    slo: EffectiveSlo | None = None,
) -> EffectiveEndpoint:
    """weights: variant → percent; variant `v1` serves model version `m:v1`."""
    variants = {
        name: EffectiveVariant(model_version=f"m:{name}", weight=weight, engine_args=(args or {}).get(name, {}))
        for name, weight in (weights or {"v1": 100}).items()
    }
    return EffectiveEndpoint(
        instance_type=instance_type,
        variants=variants,
        type="realtime",
        mode="dedicated",
        min_replicas=replicas,
        max_replicas=max(replicas, len(variants)),
        target_concurrency=8,
        idle_s=300,
        request_timeout_s=request_timeout_s,
        strategy=strategy,
        steps=steps,
        step_hold_s=step_hold_s,
        bake_s=bake_s,
        retry=retry,
        logging_content="redacted",
        slo=slo or EffectiveSlo(),
    )


def a_window(
    track: str, requests: int = 100, errors: int = 0, aborts: int = 0, refusals: int = 0, ttft_ms: float = 100, gap_ms: float = 20
) -> TrackWindow:
    """Requests that all took as long: the first byte, ten tokens after it, and ten times the first byte for the whole answer."""
    return TrackWindow(
        track=track,
        requests=requests,
        errors=errors,
        aborts=aborts,
        refusals=refusals,
        ttft=times(ttft_ms, requests),
        latency=times(10 * ttft_ms, requests),
        gaps=times(gap_ms, 10 * requests),
    )


def times(time_ms: float, count: int) -> Histogram:
    """So many times of that length."""
    return Histogram(counts={cell_of(time_ms): count} if count else {})


def a_track(variant: str = "v1", manifest: Manifest | None = None) -> Track:
    return Track(
        track_id=f"{variant}.00000000",
        variant=variant,
        model_version=f"m:{variant}",
        artifact=f"file:///models/{variant}",
        manifest=manifest or a_manifest(),
        engine="vllm",
        instance_type="cpu-small",
        shape=CPU_SHAPE,
    )


def a_start_command(replica_id: str = "r1", host: str = "host-1", track: Track | None = None) -> StartReplica:
    return StartReplica(
        replica_id=replica_id,
        project="acme",
        endpoint="chat",
        generation=1,
        nonce="n",
        served_name="chat",
        track=track or a_track(),
        prefixes=(),
        members=(Member(host=host),),
        start_timeout_s=60,
        request_timeout_s=60,
    )
