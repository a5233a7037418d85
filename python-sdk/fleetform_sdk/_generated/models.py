"""Generated from openapi.yaml by `make generate`; do not edit."""

from datetime import datetime
from typing import Annotated, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, field

from fleetform_sdk._secrets import HidesSecret


class AsyncSpec(Struct, kw_only=True):
    callback_urls: list[str] | UnsetType = UNSET


ConditionType: TypeAlias = str


class Credential(HidesSecret, kw_only=True):
    """
    The one answer that holds a secret. repr hides it.
    """

    id: str
    secret: str
    expires_at: datetime


class CredentialInfo(Struct, kw_only=True):
    """
    A live credential as lists show it: never the secret.
    """

    id: str
    created_at: datetime
    expires_at: datetime


class CredentialRequest(Struct, kw_only=True):
    """
    ttl_s: life of the credential, at most the token's; left out, the token's ttl_days.
    """

    ttl_s: int | UnsetType = UNSET


class EffectiveSchedule(Struct, kw_only=True):
    """
    Bounds of the replica count for duration_s from each time that cron names in timezone. None: the endpoint's own bound holds.
    """

    cron: str
    duration_s: int
    timezone: str
    min_replicas: int | None
    max_replicas: int | None


class EffectiveSlo(Struct, kw_only=True):
    """
    What a version must keep to. None: nothing is asked for.
    """

    ttft_p95_ms: int | None
    latency_p95_ms: int | None
    error_rate: float | None


class EffectiveVariant(Struct, kw_only=True):
    model_version: str
    weight: int
    engine_args: dict[str, str]


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
    replica_id: str | None


class EventList(Struct, kw_only=True):
    """
    Newest first. next_cursor: pass it as `cursor` to go on to older ones; null at the end.
    """

    items: list[Event]
    next_cursor: str | None


class Health(Struct, kw_only=True):
    """
    status: `ok`.
    """

    status: str


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


class LiveState(Struct, kw_only=True):
    """
    What serves now: the generation whose split is fully routed, and its variants with their routed weights.
    """

    generation: int
    variants: dict[str, EffectiveVariant]
    instance_type: str


class LoadSample(Struct, kw_only=True):
    """
    An endpoint's load, summed over all gateways. at: when the oldest part was counted. since: when the youngest gateway began to count.

    stable, burst: requests under way or held, averaged over 60 s and 6 s. queued: held now. idle_s: since the last request.
    Of the engines, None where they do not say: tokens_in_use, tokens_waiting: in all of them; token_capacity: of one.
    """

    at: datetime
    since: datetime
    stable: float
    burst: float
    queued: int
    idle_s: float
    tokens_in_use: float | None
    tokens_waiting: float | None
    token_capacity: int | None


class LogText(Struct, kw_only=True):
    """
    The end of an engine's log, oldest line first, secrets redacted.
    """

    replica_id: str
    lines: list[str]


class LoggingSpec(Struct, kw_only=True):
    content: str | UnsetType = UNSET
    retention_days: int | UnsetType = UNSET


class Metadata(Struct, kw_only=True):
    """
    What the server says of any resource. uid: stable for the life of the resource. generation: grows with the spec.
    """

    name: str
    uid: str
    generation: int
    created_at: datetime
    project: str | None


ModelFormat: TypeAlias = str


class Phase(Struct, kw_only=True):
    """
    One phase of a start, by its name in START_PHASES. ended_at None: running. done/total in bytes, if known.
    """

    name: str
    started_at: datetime
    ended_at: datetime | None
    done: int | None
    total: int | None


class ProblemField(Struct, kw_only=True):
    """
    One wrong field. pointer: JSON pointer into the body, or `/name` for a path or query parameter. code: stable.
    """

    pointer: str
    detail: str
    code: str


class ProjectSpec(Struct, kw_only=True):
    """
    artifact_prefixes: where this project's artifacts may lie; set by region administrators alone.
    """

    display_name: str | UnsetType = UNSET
    artifact_prefixes: list[str] | UnsetType = UNSET
    labels: dict[str, str] | UnsetType = UNSET


class QuotaHolder(Struct, kw_only=True):
    """
    Who holds part of a quota: an endpoint's name and the replicas it has booked or runs.
    """

    endpoint: str
    replicas: int


class QuotaSpec(Struct, kw_only=True):
    """
    max_replicas: of one instance type in one project; no quota means 0.
    """

    max_replicas: int


class QuotaStatus(Struct, kw_only=True):
    used: int
    free: int
    holders: list[QuotaHolder]


Reason: TypeAlias = str


class Region(Struct, kw_only=True):
    """
    Where the caller is. gateway_url: the OpenAI base URL. version: of the server.
    """

    name: str
    gateway_url: str
    version: str


class Rejected(Struct, kw_only=True):
    """
    A generation that was tried and turned back. evidence: sentences and log lines, redacted.

    versions: the model versions that would have got more traffic, as `model:version`.
    """

    generation: int
    reason: str
    evidence: list[str]
    versions: list[str]


class ReplicaCounts(Struct, kw_only=True):
    wanted: int
    ready: int
    starting: int
    draining: int


ReplicaPhase: TypeAlias = str


class ReplicaView(Struct, kw_only=True):
    """
    A replica as `GET …/replicas` shows it. age_s counts from created_at.

    phases: of its start. restarts: failed starts of its track in a row. in_flight: requests under way; kv_usage: share of its KV cache in
    use, 0–1; memory_mib: of its processes. None: its host or engine does not say.
    """

    id: str
    variant: str
    model_version: str
    phase: ReplicaPhase
    host: str | None
    devices: list[str]
    age_s: int
    reason: str | None
    message: str
    log_tail: list[str]
    phases: list[Phase]
    restarts: int
    in_flight: int | None
    kv_usage: float | None
    memory_mib: int | None


Role: TypeAlias = Annotated[
    str, Meta(description="The four roles. Each deployer is a viewer; an admin is all of them; an invoker only calls the gateway.")
]


class RoleBindingSpec(Struct, kw_only=True):
    roles: list[Role]


RolloutPhase: TypeAlias = str


class RolloutSpec(Struct, kw_only=True):
    """
    steps: percent of the way from the old split to the new, growing, ending at 100.
    """

    strategy: str | UnsetType = UNSET
    steps: list[int] | UnsetType = UNSET
    step_hold_s: int | UnsetType = UNSET
    bake_s: int | UnsetType = UNSET
    retry: str | UnsetType = UNSET


ScalingReason: TypeAlias = Annotated[str, Meta(description="What decided a count of replicas.")]


class ScheduleSpec(Struct, kw_only=True):
    cron: str
    duration_s: int
    timezone: str | UnsetType = UNSET
    min_replicas: int | UnsetType = UNSET
    max_replicas: int | UnsetType = UNSET


class SloSpec(Struct, kw_only=True):
    ttft_p95_ms: int | UnsetType = UNSET
    latency_p95_ms: int | UnsetType = UNSET
    error_rate: float | UnsetType = UNSET


StepOutcome: TypeAlias = Annotated[
    str, Meta(description="What became of a step's gate. NOT_JUDGED: the hold is over and too few requests came to tell.")
]


Task: TypeAlias = str


class TokenSpec(Struct, kw_only=True):
    """
    endpoints: names this token may call; left out, all of the project. ttl_days: the longest life of one credential.
    """

    roles: list[Role]
    endpoints: list[str] | UnsetType = UNSET
    ttl_days: int | UnsetType = UNSET
    labels: dict[str, str] | UnsetType = UNSET


class VariantSpec(Struct, kw_only=True):
    """
    model_version: `model:version` of the endpoint's project. A single variant may leave its weight out (100).
    """

    model_version: str
    weight: int | UnsetType = UNSET
    engine_args: dict[str, str] | UnsetType = UNSET


class Condition(Struct, kw_only=True):
    """
    One statement about a resource. changed_at moves only when status does.
    """

    type: ConditionType
    status: bool
    reason: Reason
    message: str
    changed_at: datetime


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
    schedule: dict[str, EffectiveSchedule]
    slo: EffectiveSlo
    max_requests_per_replica: int | None


class Engine(Struct, kw_only=True):
    metadata: Metadata
    spec: EngineSpec


class EngineList(Struct, kw_only=True):
    """
    next_cursor: pass it as `cursor` to go on; null at the end.
    """

    items: list[Engine]
    next_cursor: str | None


class EnginePut(Struct, kw_only=True):
    spec: EngineSpec


class InstanceType(Struct, kw_only=True):
    metadata: Metadata
    spec: InstanceTypeSpec


class InstanceTypeList(Struct, kw_only=True):
    """
    next_cursor: pass it as `cursor` to go on; null at the end.
    """

    items: list[InstanceType]
    next_cursor: str | None


class InstanceTypePut(Struct, kw_only=True):
    spec: InstanceTypeSpec


class ModelVersionSpec(Struct, kw_only=True):
    """
    Immutable once registered. sha256 pins the manifest digest that the caller expects.

    framework, with a version, must not be newer than the host's torch; engine_version, of vLLM alone, must be the host's or its line.
    runtime says what the version was made for and is not compared: safetensors weights are bound to no accelerator.
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
    ref: `model:version`. digest and size_bytes are empty until Verified. revision grows with every status change.
    """

    ref: str
    revision: int
    conditions: list[Condition]
    digest: str
    size_bytes: int
    format: ModelFormat | None
    task: Task | None


class Problem(Struct, kw_only=True):
    """
    RFC 9457. type ends in the problem's name, title is constant for it, instance is the request's id.

    errors: every wrong field. references: what blocks a delete. free, holders: of the quota that has no room. fields: the immutable
    fields that differ.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[ProblemField] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    free: int | None = None
    holders: list[QuotaHolder] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)


class Project(Struct, kw_only=True):
    metadata: Metadata
    spec: ProjectSpec


class ProjectList(Struct, kw_only=True):
    """
    next_cursor: pass it as `cursor` to go on; null at the end.
    """

    items: list[Project]
    next_cursor: str | None


class ProjectPut(Struct, kw_only=True):
    spec: ProjectSpec


class Quota(Struct, kw_only=True):
    """
    metadata.name is the instance type.
    """

    metadata: Metadata
    spec: QuotaSpec
    status: QuotaStatus


class QuotaList(Struct, kw_only=True):
    """
    next_cursor: pass it as `cursor` to go on; null at the end.
    """

    items: list[Quota]
    next_cursor: str | None


class QuotaPut(Struct, kw_only=True):
    spec: QuotaSpec


class ReplicaList(Struct, kw_only=True):
    """
    next_cursor: pass it as `cursor` to go on; null at the end.
    """

    items: list[ReplicaView]
    next_cursor: str | None


class RoleBinding(Struct, kw_only=True):
    """
    metadata.name is the principal.
    """

    metadata: Metadata
    spec: RoleBindingSpec


class RoleBindingList(Struct, kw_only=True):
    """
    next_cursor: pass it as `cursor` to go on; null at the end.
    """

    items: list[RoleBinding]
    next_cursor: str | None


class RoleBindingPut(Struct, kw_only=True):
    spec: RoleBindingSpec


class RolloutStep(Struct, kw_only=True):
    """
    One step of a rollout. percent: of the way to the new split. started_at: when every proxy had its weights (None: not yet).

    evidence: sentences with the figures that were compared, of the new and the incumbent version in the same time.
    """

    percent: int
    weights: dict[str, int]
    outcome: StepOutcome
    started_at: datetime | None
    ended_at: datetime | None
    evidence: list[str]


class ScalingDecision(Struct, kw_only=True):
    """
    How many replicas, since when, and why. message: a sentence with the figures. more_above, fewer_below: the load (requests under way
    or held) beyond which it would be another count; None: no load would change it.
    hold_s: how long the load must be below; 0: goes by idle_s.
    """

    replicas: int
    at: datetime
    reason: ScalingReason
    message: str
    before: int | None
    load: LoadSample | None
    more_above: float | None
    fewer_below: float | None
    hold_s: float


class ScalingSpec(Struct, kw_only=True):
    min_replicas: int | UnsetType = UNSET
    max_replicas: int | UnsetType = UNSET
    target_concurrency: int | UnsetType = UNSET
    idle_s: int | UnsetType = UNSET
    schedule: dict[str, ScheduleSpec] | UnsetType = UNSET


class TokenPut(Struct, kw_only=True):
    spec: TokenSpec


class TokenStatus(Struct, kw_only=True):
    """
    credentials: the live ones, oldest first. revision grows with every mint and revocation.
    """

    revision: int
    conditions: list[Condition]
    credentials: list[CredentialInfo]


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

    scaling: why there are as many replicas as there are, and what would change that; none before the first one is ready.
    """

    observed_generation: int
    revision: int
    phase: str
    conditions: list[Condition]
    effective: EffectiveEndpoint | None
    live: LiveState | None
    rejected: Rejected | None
    replicas: ReplicaCounts
    scaling: ScalingDecision | None
    url: str
    model: str
    ready: bool


class ModelVersion(Struct, kw_only=True):
    """
    metadata.name is the version; `model` the model's name.
    """

    metadata: Metadata
    model: str
    spec: ModelVersionSpec
    status: ModelVersionStatus


class ModelVersionList(Struct, kw_only=True):
    """
    next_cursor: pass it as `cursor` to go on; null at the end.
    """

    items: list[ModelVersion]
    next_cursor: str | None


class ModelVersionPut(Struct, kw_only=True):
    spec: ModelVersionSpec


class Rollout(Struct, kw_only=True):
    """
    The move to one generation, for people. old, new: variant → weight; an empty old: nothing served before.

    strategy: `surge`, or `swap` in place behind the activator's queue; pause_s: how long requests are then expected to be held.
    reason, evidence: why it was rolled back.
    """

    generation: int
    phase: RolloutPhase
    strategy: str
    started_at: datetime
    old: dict[str, int]
    new: dict[str, int]
    steps: list[RolloutStep]
    ended_at: datetime | None
    pause_s: int | None
    reason: str
    evidence: list[str]


class RolloutList(Struct, kw_only=True):
    """
    Newest first. next_cursor: pass it as `cursor` to go on to older ones; null at the end.
    """

    items: list[Rollout]
    next_cursor: str | None


class Token(Struct, kw_only=True):
    metadata: Metadata
    spec: TokenSpec
    status: TokenStatus


class TokenList(Struct, kw_only=True):
    """
    next_cursor: pass it as `cursor` to go on; null at the end.
    """

    items: list[Token]
    next_cursor: str | None


class Endpoint(Struct, kw_only=True):
    metadata: Metadata
    spec: EndpointSpec
    status: EndpointStatus


class EndpointList(Struct, kw_only=True):
    """
    next_cursor: pass it as `cursor` to go on; null at the end.
    """

    items: list[Endpoint]
    next_cursor: str | None


class EndpointPut(Struct, kw_only=True):
    spec: EndpointSpec
