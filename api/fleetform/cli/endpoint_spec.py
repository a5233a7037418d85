"""From the options of `fleetform endpoint` to an endpoint's spec, and which option sets which field."""

from collections.abc import Callable, Mapping
from typing import Any

import click

from fleetform.cli.options import PAIR, SCHEDULE, SECONDS, SPLIT, STEPS
from fleetform_sdk import with_split

PATHS: dict[str, tuple[str, ...]] = {
    "type_": ("type",),
    "mode": ("mode",),
    "instance_type": ("instance_type",),
    "min_replicas": ("scaling", "min_replicas"),
    "max_replicas": ("scaling", "max_replicas"),
    "target_concurrency": ("scaling", "target_concurrency"),
    "idle_s": ("scaling", "idle_s"),
    "schedules": ("scaling", "schedule"),
    "request_timeout_s": ("request_timeout_s",),
    "max_requests_per_replica": ("max_requests_per_replica",),
    "strategy": ("rollout", "strategy"),
    "steps": ("rollout", "steps"),
    "step_hold_s": ("rollout", "step_hold_s"),
    "bake_s": ("rollout", "bake_s"),
    "retry": ("rollout", "retry"),
    "slo_ttft_p95_ms": ("slo", "ttft_p95_ms"),
    "slo_latency_p95_ms": ("slo", "latency_p95_ms"),
    "slo_error_rate": ("slo", "error_rate"),
    "logging": ("logging", "content"),
    "deletion_protection": ("deletion_protection",),
    "labels": ("labels",),
}
"""Where each option's value goes in the spec."""

FLAGS = {
    "type_": "--type",
    "request_timeout_s": "--timeout",
    "idle_s": "--idle",
    "schedules": "--schedule",
    "step_hold_s": "--step-hold",
    "bake_s": "--bake",
    "labels": "--label",
}
FIELDS = {
    **{"/spec/" + "/".join(path): FLAGS.get(name, "--" + name.replace("_", "-")) for name, path in PATHS.items()},
    "/spec/variants": "--traffic-split or --model",
    "/name": "--name",
}

SPLIT_OPTION = click.option(
    "--traffic-split",
    "split",
    type=SPLIT,
    help="Percent by variant, or by version of the endpoint's model: 'v1.4=90,v1.5=10'. What is left out gets none.",
)
SCALAR_OPTIONS = (
    click.option("--type", "type_", help="realtime (default) or streaming."),
    click.option("--mode", help="dedicated (default), or serverless: no replica while nobody asks."),
    click.option("--min-replicas", type=int, help="Replicas at least; 0: none while nobody asks. Default: 1."),
    click.option("--max-replicas", type=int, help="Replicas at most, under load. Default: the minimum."),
    click.option("--target-concurrency", type=int, help="Requests in flight that one replica should have. Default: 8."),
    click.option("--idle", "idle_s", type=SECONDS, help="How long without a request until no replica is left. Default: 300s."),
    click.option(
        "--schedule",
        "schedules",
        type=SCHEDULE,
        multiple=True,
        help="Other bounds at certain times: 'office: 0 9 * * SUN-THU for 8h in Asia/Dhaka, min 2, max 10'. Repeat for several.",
    ),
    click.option("--timeout", "request_timeout_s", type=SECONDS, help="The longest a request may take. Default: 300s."),
    click.option("--max-requests-per-replica", type=int, help="Requests after which a replica is replaced."),
    click.option("--strategy", help="surge (default), or swap: where there is no room for new replicas beside the old, these make it."),
    click.option("--steps", type=STEPS, help="Percent of the way to a new split, step by step. Default: 1,10,50,100."),
    click.option("--step-hold", "step_hold_s", type=SECONDS, help="How long each step is held. Default: 60s."),
    click.option("--bake", "bake_s", type=SECONDS, help="How long replicas without traffic stay warm. Default: 600s."),
    click.option("--retry", help="Any new text: try a generation again that was rolled back or stalled."),
    click.option("--slo-ttft-p95-ms", type=int, help="A rollout is turned back when its first byte takes longer at the 95th percentile."),
    click.option("--slo-latency-p95-ms", type=int, help="The same for whole answers."),
    click.option("--slo-error-rate", type=float, help="A rollout is turned back when more of its requests fail: 0.01 is one in a hundred."),
    click.option("--logging", help="redacted (default) or off."),
    click.option("--deletion-protection/--no-deletion-protection", default=None, help="Refuse to delete the endpoint."),
    click.option("--label", "labels", type=PAIR, multiple=True, help="A label, key=value. Repeat for several."),
)


def created(model: tuple[str, str], engine_args: tuple[tuple[str, str], ...] = (), **options: Any) -> dict[str, Any]:
    """The spec of a new endpoint: one variant, named after its version."""
    name, version = model
    variant: dict[str, Any] = {"model_version": f"{name}:{version}"}
    if engine_args:
        variant["engine_args"] = dict(engine_args)
    return _with({"variants": {version: variant}}, _typed(options))


def changed(
    split: Mapping[str, int] | None = None, removed: tuple[str, ...] = (), no_schedule: bool = False, **options: Any
) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    """The change that the options ask for, or None when they ask for none."""
    typed = _typed(options)
    if split is None and not removed and not no_schedule and not typed:
        return None
    if no_schedule and "schedules" in typed:
        raise click.UsageError("--schedule and --no-schedule do not go together: --schedule replaces all schedules there were")

    def change(spec: dict[str, Any]) -> dict[str, Any]:
        if split is not None:
            spec = with_split(spec, split)
        for name in removed:
            _remove(spec["variants"], name)
        if no_schedule:
            spec.get("scaling", {}).pop("schedule", None)
        return _with(spec, typed)

    return change


def _typed(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were typed; those that may be repeated as a map, which replaces the one there was."""
    typed = {name: value for name, value in options.items() if value is not None and value != ()}
    for name in ("labels", "schedules"):
        if name in typed:
            typed[name] = dict(typed[name])
    return typed


def _with(spec: dict[str, Any], typed: dict[str, Any]) -> dict[str, Any]:
    """spec with each value at its path; the maps on the way are kept."""
    for name, value in typed.items():
        *way, last = PATHS[name]
        at = spec
        for step in way:
            at = at.setdefault(step, {})
        at[last] = value
    return spec


def _remove(variants: dict[str, Any], name: str) -> None:
    if name not in variants:
        raise click.UsageError(f"--remove-variant: the endpoint has no variant {name!r}; it has {', '.join(sorted(variants))}")
    if variants[name].get("weight", 100) != 0:
        raise click.UsageError(f"--remove-variant: {name!r} has traffic; move it away first with --traffic-split")
    del variants[name]
