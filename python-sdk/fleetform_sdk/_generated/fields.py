"""Generated from openapi.yaml by `make generate`; do not edit."""

from typing import NotRequired, TypeAlias, TypedDict


class AsyncSpec(TypedDict):
    callback_urls: NotRequired[list[str]]


class EngineSpec(TypedDict):
    """
    A `command` engine, declared region-wide by administrators; a tenant never brings a command.

    argv: template; `{socket}` or `{port}`, `{model_dir}`, `{served_name}`, `{instance}` (the nonce) and `{context_length}` are filled in.
    health_path answers 200 when the engine is ready. routes: `openai` engines are asked a one-token canary, `raw` ones are not.
    """

    argv: list[str]
    listen: NotRequired[str]
    health_path: NotRequired[str]
    routes: NotRequired[str]


class InstanceTypeSpec(TypedDict):
    """
    The shape one replica takes. accelerator: a device kind such as `a10`; memory is per device, in MiB.
    """

    cpu_millis: int
    memory_mib: int
    accelerator: NotRequired[str]
    accelerator_count: NotRequired[int]
    accelerator_memory_mib: NotRequired[int]
    vm_rate_bdt: NotRequired[str]
    margin_bdt: NotRequired[str]
    self_service_max: NotRequired[int]


class LoggingSpec(TypedDict):
    content: NotRequired[str]
    retention_days: NotRequired[int]


ModelFormat: TypeAlias = str


class ProjectSpec(TypedDict):
    """
    artifact_prefixes: where this project's artifacts may lie; set by region administrators alone.
    """

    display_name: NotRequired[str]
    artifact_prefixes: NotRequired[list[str]]
    labels: NotRequired[dict[str, str]]


class QuotaSpec(TypedDict):
    """
    max_replicas: of one instance type in one project; no quota means 0.
    """

    max_replicas: int


Role: TypeAlias = str


class RoleBindingSpec(TypedDict):
    roles: list[Role]


class RolloutSpec(TypedDict):
    """
    steps: percent of the way from the old split to the new, growing, ending at 100.
    """

    strategy: NotRequired[str]
    steps: NotRequired[list[int]]
    step_hold_s: NotRequired[int]
    bake_s: NotRequired[int]
    retry: NotRequired[str]


class ScheduleSpec(TypedDict):
    cron: str
    duration_s: int
    timezone: NotRequired[str]
    min_replicas: NotRequired[int]
    max_replicas: NotRequired[int]


class SloSpec(TypedDict):
    ttft_p95_ms: NotRequired[int]
    latency_p95_ms: NotRequired[int]
    error_rate: NotRequired[float]


Task: TypeAlias = str


class TokenSpec(TypedDict):
    """
    endpoints: names this token may call; left out, all of the project. ttl_days: the longest life of one credential.
    """

    roles: list[Role]
    endpoints: NotRequired[list[str]]
    ttl_days: NotRequired[int]
    labels: NotRequired[dict[str, str]]


class VariantSpec(TypedDict):
    """
    model_version: `model:version` of the endpoint's project. A single variant may leave its weight out (100).
    """

    model_version: str
    weight: NotRequired[int]
    engine_args: NotRequired[dict[str, str]]


class ModelVersionSpec(TypedDict):
    """
    Immutable once registered. sha256 pins the manifest digest that the caller expects.

    framework, with a version, must not be newer than the host's torch; engine_version, of vLLM alone, must be the host's or its line.
    runtime says what the version was made for and is not compared: safetensors weights are bound to no accelerator.
    """

    artifact: str
    framework: str
    runtime: str
    format: NotRequired[ModelFormat]
    task: NotRequired[Task]
    engine: NotRequired[str]
    engine_version: NotRequired[str]
    quantization: NotRequired[str]
    parent: NotRequired[str]
    sha256: NotRequired[str]
    allow_remote_code: NotRequired[bool]


class ScalingSpec(TypedDict):
    min_replicas: NotRequired[int]
    max_replicas: NotRequired[int]
    target_concurrency: NotRequired[int]
    idle_s: NotRequired[int]
    schedule: NotRequired[dict[str, ScheduleSpec]]


EndpointSpec = TypedDict(
    "EndpointSpec",
    {
        "instance_type": str,
        "variants": dict[str, VariantSpec],
        "type": NotRequired[str],
        "mode": NotRequired[str],
        "scaling": NotRequired[ScalingSpec],
        "request_timeout_s": NotRequired[int],
        "max_requests_per_replica": NotRequired[int],
        "rollout": NotRequired[RolloutSpec],
        "slo": NotRequired[SloSpec],
        "logging": NotRequired[LoggingSpec],
        "async": NotRequired[AsyncSpec],
        "deletion_protection": NotRequired[bool],
        "labels": NotRequired[dict[str, str]],
    },
)
