"""Generated from openapi.yaml by `make generate`; do not edit."""

from msgspec import Meta, Struct, UNSET, UnsetType, convert, field
from datetime import datetime
from fleetform_sdk._secrets import HidesSecret
from typing import Annotated, TypeAlias


class PF(Struct, kw_only=True):
    pointer: str
    detail: str
    code: str


class Credential(HidesSecret, kw_only=True):
    """
    The one answer that holds a secret. repr hides it.
    """

    id: str
    secret: str
    expires_at: datetime


class CredentialRequest(Struct, kw_only=True):
    """
    ttl_s: life of the credential, at most the token's; left out, the token's ttl_days.
    """

    ttl_s: int | UnsetType = UNSET


ReplicaPhase: TypeAlias = str


class Event(Struct, kw_only=True):
    """
    kind: `Normal` or `Warning`. reason: CamelCase, stable. seq grows over the region.
    """

    seq: int
    at: datetime
    kind: str
    reason: str
    message: str
    generation: int
    replica_id: str | None = None


class EventList(Struct, kw_only=True):
    items: list[Event]
    next_cursor: str | None = None


class LogLines(Struct, kw_only=True):
    replica: str
    lines: list[str]


class Metadata(Struct, kw_only=True):
    """
    What the server says of any resource. uid: stable for the life of the resource. generation: grows with the spec.
    """

    name: str
    uid: str
    generation: int
    created_at: datetime
    project: str | None = None


class ProjectSpec(Struct, kw_only=True):
    """
    artifact_prefixes: where this project's artifacts may lie; set by region administrators alone.
    """

    display_name: str | UnsetType = UNSET
    artifact_prefixes: list[str] | UnsetType = UNSET
    labels: dict[str, str] | UnsetType = UNSET


class ProjectSpecRequest(Struct, kw_only=True):
    spec: ProjectSpec


class InstanceTypeSpec(Struct, kw_only=True):
    """
    The shape one replica takes. accelerator: a device kind such as `a10`; memory is per device, in MiB.
    """

    cpu_millis: int
    memory_mib: int
    accelerator: str | UnsetType = UNSET
    accelerator_count: int | UnsetType = UNSET
    accelerator_memory_mib: int | UnsetType = UNSET
    vm_rate_bdt: str | UnsetType = UNSET
    margin_bdt: str | UnsetType = UNSET
    self_service_max: int | UnsetType = UNSET


class InstanceTypeSpecRequest(Struct, kw_only=True):
    spec: InstanceTypeSpec


class EngineSpec(Struct, kw_only=True):
    """
    A `command` engine, declared region-wide by administrators; a tenant never brings a command.

        argv: template; `{socket}` or `{port}`, `{model_dir}`, `{served_name}`, `{instance}` (the nonce) and `{context_length}` are filled in.
        health_path answers 200 when the engine is ready. routes: `openai` engines are asked a one-token canary, `raw` ones are not.
    """

    argv: list[str]
    listen: str | UnsetType = UNSET
    health_path: str | UnsetType = UNSET
    routes: str | UnsetType = UNSET


class EngineSpecRequest(Struct, kw_only=True):
    spec: EngineSpec


class VariantSpec(Struct, kw_only=True):
    """
    model_version: `model:version` of the endpoint's project. A single variant may leave its weight out (100).
    """

    model_version: str
    weight: int | UnsetType = UNSET
    engine_args: dict[str, str] | UnsetType = UNSET


class ScheduleSpec(Struct, kw_only=True):
    cron: str
    duration_s: int
    timezone: str | UnsetType = UNSET
    min_replicas: int | UnsetType = UNSET
    max_replicas: int | UnsetType = UNSET


class RolloutSpec(Struct, kw_only=True):
    """
    steps: percent of the way from the old split to the new, growing, ending at 100.
    """

    strategy: str | UnsetType = UNSET
    steps: list[int] | UnsetType = UNSET
    step_hold_s: int | UnsetType = UNSET
    bake_s: int | UnsetType = UNSET
    retry: str | UnsetType = UNSET


class SloSpec(Struct, kw_only=True):
    ttft_p95_ms: int | UnsetType = UNSET
    latency_p95_ms: int | UnsetType = UNSET
    error_rate: float | UnsetType = UNSET


class LoggingSpec(Struct, kw_only=True):
    content: str | UnsetType = UNSET
    retention_days: int | UnsetType = UNSET


class AsyncSpec(Struct, kw_only=True):
    callback_urls: list[str] | UnsetType = UNSET


ConditionType: TypeAlias = str


Reason: TypeAlias = str


class EffectiveVariant(Struct, kw_only=True):
    model_version: str
    weight: int
    engine_args: dict[str, str] = field(default_factory=dict)


class LiveState(Struct, kw_only=True):
    """
    What serves now: the generation whose split is fully routed, and its variants with their routed weights.
    """

    generation: int
    variants: dict[str, EffectiveVariant]
    instance_type: str


class Rejected(Struct, kw_only=True):
    """
    A generation that was tried and turned back. evidence: sentences and log lines, redacted.
    """

    generation: int
    reason: str
    evidence: list[str] = field(default_factory=list)


class ReplicaCounts(Struct, kw_only=True):
    wanted: int = 0
    ready: int = 0
    starting: int = 0
    draining: int = 0


ModelFormat: TypeAlias = str


Task: TypeAlias = str


class QuotaSpec(Struct, kw_only=True):
    """
    max_replicas: of one instance type in one project; no quota means 0.
    """

    max_replicas: int


class QuotaHolder(Struct, kw_only=True):
    """
    Who holds part of a quota: an endpoint's name and the replicas it has booked or runs.
    """

    endpoint: str
    replicas: int


class QuotaSpecRequest(Struct, kw_only=True):
    spec: QuotaSpec


Role: TypeAlias = Annotated[
    str, Meta(description="The four roles. Each deployer is a viewer; an admin is all of them; an invoker only calls the gateway.")
]


class CredentialInfo(Struct, kw_only=True):
    """
    A live credential as lists show it: never the secret.
    """

    id: str
    created_at: datetime
    expires_at: datetime


class RoleBindingSpec(Struct, kw_only=True):
    roles: list[Role]


class RoleBindingSpecRequest(Struct, kw_only=True):
    spec: RoleBindingSpec


class Problem(Struct, kw_only=True):
    type: str
    title: str
    status: int
    detail: str
    errors: list[PF] = field(default_factory=list)
    request_id: str | None = None


class ReplicaView(Struct, kw_only=True):
    """
    A replica as `GET …/replicas` shows it. age_s counts from created_at.
    """

    id: str
    variant: str
    model_version: str
    phase: ReplicaPhase
    host: str | None
    devices: list[str]
    age_s: int
    in_flight: int | None = None
    reason: str | None = None
    message: str = ""
    log_tail: list[str] = field(default_factory=list)


class ReplicaViewList(Struct, kw_only=True):
    items: list[ReplicaView]
    next_cursor: str | None = None


class Project(Struct, kw_only=True):
    metadata: Metadata
    spec: ProjectSpec


class InstanceType(Struct, kw_only=True):
    metadata: Metadata
    spec: InstanceTypeSpec


class Engine(Struct, kw_only=True):
    metadata: Metadata
    spec: EngineSpec


class ScalingSpec(Struct, kw_only=True):
    min_replicas: int | UnsetType = UNSET
    max_replicas: int | UnsetType = UNSET
    target_concurrency: int | UnsetType = UNSET
    idle_s: int | UnsetType = UNSET
    schedule: dict[str, ScheduleSpec] | UnsetType = UNSET


class Condition(Struct, kw_only=True):
    """
    One statement about a resource. changed_at moves only when status does.
    """

    type: ConditionType
    status: bool
    reason: Reason
    changed_at: datetime
    message: str = ""


class EffectiveEndpoint(Struct, kw_only=True):
    """
    The spec with defaults applied, frozen per generation: a later release cannot change a running endpoint.

        max_replicas is raised to the number of variants with traffic where the client left it out.
    """

    instance_type: str
    variants: dict[str, EffectiveVariant]
    type: str
    mode: str
    min_replicas: int
    max_replicas: int
    target_concurrency: int
    idle_s: int
    request_timeout_s: int
    strategy: str
    steps: list[int]
    step_hold_s: int
    bake_s: int
    retry: str
    logging_content: str


class ModelVersionSpec(Struct, kw_only=True):
    """
    Immutable once registered. sha256 pins the manifest digest that the caller expects.
    """

    artifact: str
    framework: str
    runtime: str
    format: ModelFormat | UnsetType = UNSET
    task: Task | UnsetType = UNSET
    engine: str | UnsetType = UNSET
    engine_version: str | UnsetType = UNSET
    quantization: str | UnsetType = UNSET
    parent: str | UnsetType = UNSET
    sha256: str | UnsetType = UNSET
    allow_remote_code: bool | UnsetType = UNSET


class ModelVersionStatus(Struct, kw_only=True):
    """
    ref: `model:version`. digest and size_bytes are empty until Verified.
    """

    ref: str
    conditions: list[Condition] = field(default_factory=list)
    digest: str = ""
    size_bytes: int = 0
    format: ModelFormat | None = None
    task: Task | None = None


class ModelVersionSpecRequest(Struct, kw_only=True):
    spec: ModelVersionSpec


class QuotaStatus(Struct, kw_only=True):
    used: int
    free: int
    holders: list[QuotaHolder] = field(default_factory=list)


class TokenSpec(Struct, kw_only=True):
    """
    endpoints: names this token may call; left out, all of the project. ttl_days: the longest life of one credential.
    """

    roles: list[Role]
    endpoints: list[str] | UnsetType = UNSET
    ttl_days: int | UnsetType = UNSET
    labels: dict[str, str] | UnsetType = UNSET


class TokenStatus(Struct, kw_only=True):
    conditions: list[Condition] = field(default_factory=list)
    credentials: list[CredentialInfo] = field(default_factory=list)


class TokenSpecRequest(Struct, kw_only=True):
    spec: TokenSpec


class RoleBinding(Struct, kw_only=True):
    """
    metadata.name is the principal.
    """

    metadata: Metadata
    spec: RoleBindingSpec


class ProjectList(Struct, kw_only=True):
    items: list[Project]
    next_cursor: str | None = None


class InstanceTypeList(Struct, kw_only=True):
    items: list[InstanceType]
    next_cursor: str | None = None


class EngineList(Struct, kw_only=True):
    items: list[Engine]
    next_cursor: str | None = None


class EndpointSpec(Struct, kw_only=True):
    instance_type: str
    variants: dict[str, VariantSpec]
    type: str | UnsetType = UNSET
    mode: str | UnsetType = UNSET
    scaling: ScalingSpec | UnsetType = UNSET
    request_timeout_s: int | UnsetType = UNSET
    max_requests_per_replica: int | UnsetType = UNSET
    rollout: RolloutSpec | UnsetType = UNSET
    slo: SloSpec | UnsetType = UNSET
    logging: LoggingSpec | UnsetType = UNSET
    async_: AsyncSpec | UnsetType = field(name="async", default=UNSET)
    deletion_protection: bool | UnsetType = UNSET
    labels: dict[str, str] | UnsetType = UNSET


class EndpointStatus(Struct, kw_only=True):
    """
    revision grows with every status change. phase: one word for tables, derived from the conditions.
    """

    observed_generation: int = 0
    revision: int = 0
    phase: str = "Pending"
    conditions: list[Condition] = field(default_factory=list)
    effective: EffectiveEndpoint | None = None
    live: LiveState | None = None
    rejected: Rejected | None = None
    replicas: ReplicaCounts = field(
        default_factory=lambda: convert({"wanted": 0, "ready": 0, "starting": 0, "draining": 0}, type=ReplicaCounts)
    )
    url: str = ""
    model: str = ""
    ready: bool = False


class EndpointSpecRequest(Struct, kw_only=True):
    spec: EndpointSpec


class ModelVersion(Struct, kw_only=True):
    """
    metadata.name is the version; `model` the model's name.
    """

    metadata: Metadata
    model: str
    spec: ModelVersionSpec
    status: ModelVersionStatus


class Quota(Struct, kw_only=True):
    """
    metadata.name is the instance type.
    """

    metadata: Metadata
    spec: QuotaSpec
    status: QuotaStatus


class Token(Struct, kw_only=True):
    metadata: Metadata
    spec: TokenSpec
    status: TokenStatus


class RoleBindingList(Struct, kw_only=True):
    items: list[RoleBinding]
    next_cursor: str | None = None


class Endpoint(Struct, kw_only=True):
    metadata: Metadata
    spec: EndpointSpec
    status: EndpointStatus


class ModelVersionList(Struct, kw_only=True):
    items: list[ModelVersion]
    next_cursor: str | None = None


class QuotaList(Struct, kw_only=True):
    items: list[Quota]
    next_cursor: str | None = None


class TokenList(Struct, kw_only=True):
    items: list[Token]
    next_cursor: str | None = None


class EndpointList(Struct, kw_only=True):
    items: list[Endpoint]
    next_cursor: str | None = None
