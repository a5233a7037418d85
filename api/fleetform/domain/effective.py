"""The spec of an endpoint with every default filled in: what the planner goes by."""

from fleetform.domain.base import Record, value_or
from fleetform.domain.endpoint_spec import EndpointSpec, LoggingSpec, RolloutSpec, ScalingSpec, ScheduleSpec, SloSpec
from fleetform.domain.rollout import SURGE


class EffectiveVariant(Record, frozen=True, kw_only=True):
    model_version: str
    weight: int
    engine_args: dict[str, str] = {}


class EffectiveSchedule(Record, frozen=True, kw_only=True):
    """Bounds of the replica count for duration_s from each time that cron names in timezone. None: the endpoint's own bound holds."""

    cron: str
    duration_s: int
    timezone: str = "UTC"
    min_replicas: int | None = None
    max_replicas: int | None = None


class EffectiveSlo(Record, frozen=True, kw_only=True):
    """What a version must keep to. None: nothing is asked for."""

    ttft_p95_ms: int | None = None
    latency_p95_ms: int | None = None
    error_rate: float | None = None


class EffectiveEndpoint(Record, frozen=True, kw_only=True):
    """The spec with defaults applied, frozen per generation: a later release cannot change a running endpoint.

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
    steps: tuple[int, ...]
    step_hold_s: int
    bake_s: int
    retry: str
    logging_content: str
    schedule: dict[str, EffectiveSchedule] = {}
    slo: EffectiveSlo = EffectiveSlo()
    max_requests_per_replica: int | None = None


def effective(spec: EndpointSpec) -> EffectiveEndpoint:
    """spec with its defaults filled in. spec has no problems."""
    scaling, rollout, logging = spec.scaling or ScalingSpec(), spec.rollout or RolloutSpec(), spec.logging or LoggingSpec()
    variants = {
        name: EffectiveVariant(
            model_version=variant.model_version,
            weight=value_or(variant.weight, 100),
            engine_args=dict(sorted((variant.engine_args or {}).items())),
        )
        for name, variant in spec.variants.items()
    }
    serving = sum(1 for variant in variants.values() if variant.weight > 0)
    minimum = value_or(scaling.min_replicas, 0 if spec.mode == "serverless" else 1)
    slo = spec.slo or SloSpec()
    return EffectiveEndpoint(
        instance_type=spec.instance_type,
        variants=variants,
        type=value_or(spec.type, "realtime"),
        mode=value_or(spec.mode, "dedicated"),
        min_replicas=minimum,
        max_replicas=value_or(scaling.max_replicas, max(1, minimum, serving)),
        target_concurrency=value_or(scaling.target_concurrency, 8),
        idle_s=value_or(scaling.idle_s, 300),
        request_timeout_s=value_or(spec.request_timeout_s, 300),
        strategy=value_or(rollout.strategy, SURGE),
        steps=tuple(value_or(rollout.steps, [1, 10, 50, 100])),
        step_hold_s=value_or(rollout.step_hold_s, 60),
        bake_s=value_or(rollout.bake_s, 600),
        retry=value_or(rollout.retry, ""),
        logging_content=value_or(logging.content, "redacted"),
        schedule={name: _effective_schedule(schedule) for name, schedule in sorted((scaling.schedule or {}).items())},
        slo=EffectiveSlo(
            ttft_p95_ms=value_or(slo.ttft_p95_ms, None),
            latency_p95_ms=value_or(slo.latency_p95_ms, None),
            error_rate=value_or(slo.error_rate, None),
        ),
        max_requests_per_replica=value_or(spec.max_requests_per_replica, None),
    )


def _effective_schedule(spec: ScheduleSpec) -> EffectiveSchedule:
    return EffectiveSchedule(
        cron=spec.cron,
        duration_s=spec.duration_s,
        timezone=value_or(spec.timezone, "UTC"),
        min_replicas=value_or(spec.min_replicas, None),
        max_replicas=value_or(spec.max_replicas, None),
    )
