"""What a client sends of an endpoint, and the rules it must keep.

Values whose behaviour this release does not have are refused in `problems`, never accepted and ignored.
"""

import itertools
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from fleetform.domain.base import Request, value_or
from fleetform.domain.decode import escape
from fleetform.domain.names import name_error, split_model_ref
from fleetform.domain.project import Labels
from fleetform.domain.schedule import cron_problem, timezone_problem
from fleetform.errors import FieldError

Weight = Annotated[int, Meta(ge=0, le=100)]


class VariantSpec(Request, frozen=True, kw_only=True):
    """model_version: `model:version` of the endpoint's project. A single variant may leave its weight out (100)."""

    model_version: Annotated[str, Meta(max_length=127)]
    weight: Weight | UnsetType = UNSET
    engine_args: Annotated[dict[str, Annotated[str, Meta(max_length=1024)]], Meta(max_length=64)] | UnsetType = UNSET


class ScheduleSpec(Request, frozen=True, kw_only=True):
    cron: Annotated[str, Meta(max_length=128)]
    duration_s: Annotated[int, Meta(ge=60, le=31 * 86400)]
    timezone: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    min_replicas: Annotated[int, Meta(ge=0, le=1000)] | UnsetType = UNSET
    max_replicas: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET


class ScalingSpec(Request, frozen=True, kw_only=True):
    min_replicas: Annotated[int, Meta(ge=0, le=1000)] | UnsetType = UNSET
    max_replicas: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET
    target_concurrency: Annotated[int, Meta(ge=1, le=10000)] | UnsetType = UNSET
    idle_s: Annotated[int, Meta(ge=30, le=31 * 86400)] | UnsetType = UNSET
    schedule: Annotated[dict[str, ScheduleSpec], Meta(max_length=16)] | UnsetType = UNSET


class RolloutSpec(Request, frozen=True, kw_only=True):
    """steps: percent of the way from the old split to the new, growing, ending at 100."""

    strategy: Annotated[str, Meta(pattern="^(surge|swap)$")] | UnsetType = UNSET
    steps: Annotated[list[Annotated[int, Meta(ge=1, le=100)]], Meta(min_length=1, max_length=20)] | UnsetType = UNSET
    step_hold_s: Annotated[int, Meta(ge=0, le=86400)] | UnsetType = UNSET
    bake_s: Annotated[int, Meta(ge=0, le=7 * 86400)] | UnsetType = UNSET
    retry: Annotated[str, Meta(max_length=128)] | UnsetType = UNSET


class SloSpec(Request, frozen=True, kw_only=True):
    ttft_p95_ms: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    latency_p95_ms: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    error_rate: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET


class LoggingSpec(Request, frozen=True, kw_only=True):
    content: Annotated[str, Meta(pattern="^(redacted|off|full)$")] | UnsetType = UNSET
    retention_days: Annotated[int, Meta(ge=1, le=3650)] | UnsetType = UNSET


class AsyncSpec(Request, frozen=True, kw_only=True):
    callback_urls: Annotated[list[Annotated[str, Meta(pattern="^https://", max_length=2048)]], Meta(max_length=16)] | UnsetType = UNSET


class EndpointSpec(Request, frozen=True, kw_only=True, rename={"async_": "async"}):
    instance_type: Annotated[str, Meta(max_length=63)]
    variants: Annotated[dict[str, VariantSpec], Meta(min_length=1, max_length=8)]
    type: Annotated[str, Meta(pattern="^(realtime|streaming|batch|serverless-async)$")] | UnsetType = UNSET
    mode: Annotated[str, Meta(pattern="^(dedicated|shared|serverless)$")] | UnsetType = UNSET
    scaling: ScalingSpec | UnsetType = UNSET
    request_timeout_s: Annotated[int, Meta(ge=1, le=3600)] | UnsetType = UNSET
    max_requests_per_replica: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    rollout: RolloutSpec | UnsetType = UNSET
    slo: SloSpec | UnsetType = UNSET
    logging: LoggingSpec | UnsetType = UNSET
    async_: AsyncSpec | UnsetType = UNSET
    deletion_protection: bool | UnsetType = UNSET
    labels: Labels | UnsetType = UNSET

    def problems(self, pointer: str) -> list[FieldError]:
        """Rules between fields, and values that this release does not serve yet."""
        return [
            *_not_yet(self, pointer),
            *_variant_problems(self, pointer),
            *_scaling_problems(self, pointer),
            *_step_problems(self, pointer),
        ]


def _not_yet(spec: EndpointSpec, pointer: str) -> list[FieldError]:
    found = []

    def refuse(where: str, what: str, remedy: str) -> None:
        found.append(FieldError(f"{pointer}/{where}", f"{what} is not available in this release; {remedy}", "unsupported"))

    if spec.type in ("batch", "serverless-async"):
        refuse("type", repr(spec.type), "use 'realtime' or 'streaming'")
    if spec.mode == "shared":
        refuse("mode", repr(spec.mode), "use 'dedicated' or 'serverless'")
    if spec.async_ is not UNSET:
        refuse("async", "an asynchronous endpoint", "leave it out")
    if spec.logging and spec.logging.content == "full":
        refuse("logging/content", "'full'", "use 'redacted' or 'off'")
    if spec.logging and spec.logging.retention_days is not UNSET:
        refuse("logging/retention_days", "keeping request text", "leave it out")
    return found


def _variant_problems(spec: EndpointSpec, pointer: str) -> list[FieldError]:
    found = []
    weights = [variant.weight for variant in spec.variants.values()]
    for name, variant in spec.variants.items():
        at = f"{pointer}/variants/{escape(name)}"
        bad = name_error(at, name)
        if bad is not None:
            found.append(bad)
        if split_model_ref(variant.model_version) is None:
            found.append(FieldError(f"{at}/model_version", "must be 'model:version'", "invalid_value"))
        if variant.weight is UNSET and len(spec.variants) > 1:
            found.append(FieldError(f"{at}/weight", "required when there is more than one variant", "required"))
    given = [weight for weight in weights if isinstance(weight, int)]
    if len(given) == len(weights) and sum(given) != 100:
        found.append(FieldError(f"{pointer}/variants", f"weights sum to {sum(given)}; they must sum to 100", "weights"))
    return found


def _scaling_problems(spec: EndpointSpec, pointer: str) -> list[FieldError]:
    scaling = spec.scaling or ScalingSpec()
    least = value_or(scaling.min_replicas, 0 if spec.mode == "serverless" else 1)
    found = [*_zero_problems(spec, pointer), *_bound_problems(spec, f"{pointer}/scaling", least, scaling.max_replicas)]
    for name, schedule in (scaling.schedule or {}).items():
        found += _schedule_problems(spec, f"{pointer}/scaling/schedule/{escape(name)}", name, schedule)
    return found


def _bound_problems(spec: EndpointSpec, pointer: str, least: int, most: int | UnsetType) -> list[FieldError]:
    if most is UNSET:
        return []
    serving = sum(1 for v in spec.variants.values() if v.weight is UNSET or v.weight > 0)
    if most < least:
        return [FieldError(f"{pointer}/max_replicas", f"{most} is below min_replicas ({least})", "bounds")]
    if most < serving:
        return [FieldError(f"{pointer}/max_replicas", f"{most} is below the number of variants with traffic ({serving})", "bounds")]
    return []


def _zero_problems(spec: EndpointSpec, pointer: str) -> list[FieldError]:
    """A serverless endpoint rests at no replica; one that streams always has one, so that its first token never waits for a start."""
    least = spec.scaling.min_replicas if spec.scaling else UNSET
    found = []
    if spec.mode == "serverless" and least not in (UNSET, 0):
        detail = "a serverless endpoint has min_replicas 0: leave it out, or use mode 'dedicated'"
        found.append(FieldError(f"{pointer}/scaling/min_replicas", detail, "bounds"))
    if spec.type == "streaming" and spec.mode == "serverless":
        found.append(FieldError(f"{pointer}/mode", "a streaming endpoint never goes to zero replicas: use mode 'dedicated'", "bounds"))
    if spec.type == "streaming" and least == 0:
        detail = "a streaming endpoint never goes to zero replicas: use at least 1, or type 'realtime'"
        found.append(FieldError(f"{pointer}/scaling/min_replicas", detail, "bounds"))
    return found


def _schedule_problems(spec: EndpointSpec, pointer: str, name: str, schedule: ScheduleSpec) -> list[FieldError]:
    least, most = schedule.min_replicas, schedule.max_replicas
    found = [error for error in (name_error(pointer, name),) if error is not None]
    for where, problem in (("cron", cron_problem(schedule.cron)), ("timezone", timezone_problem(value_or(schedule.timezone, "UTC")))):
        if problem is not None:
            found.append(FieldError(f"{pointer}/{where}", problem, "invalid_value"))
    if least is UNSET and most is UNSET:
        found.append(FieldError(pointer, "gives neither min_replicas nor max_replicas: it would change nothing", "required"))
    if spec.type == "streaming" and least == 0:
        detail = "a streaming endpoint never goes to zero replicas: use at least 1"
        found.append(FieldError(f"{pointer}/min_replicas", detail, "bounds"))
    return [*found, *_bound_problems(spec, pointer, value_or(least, 0), most)]


def _step_problems(spec: EndpointSpec, pointer: str) -> list[FieldError]:
    if not spec.rollout or spec.rollout.steps is UNSET:
        return []
    steps = spec.rollout.steps
    if steps[-1] != 100 or any(a >= b for a, b in itertools.pairwise(steps)):
        return [FieldError(f"{pointer}/rollout/steps", "must grow and end at 100", "steps")]
    return []
