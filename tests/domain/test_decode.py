"""Every wrong field is named, with its pointer, in one answer."""

import pytest
from msgspec import UNSET

from fleetform.domain.decode import decode
from fleetform.domain.effective import effective
from fleetform.domain.endpoint_spec import EndpointSpec
from fleetform.domain.machine import EngineSpec, InstanceTypeSpec
from fleetform.domain.model import ModelVersionSpec
from fleetform.domain.project import ProjectSpec
from fleetform.errors import InvalidSpec

ONE = {"instance_type": "cpu-small", "variants": {"v1": {"model_version": "m:v1"}}}


def codes(value: object, type_: type = EndpointSpec) -> dict[str, str]:
    with pytest.raises(InvalidSpec) as caught:
        decode(type_, value, "/spec")
    return {error.pointer: error.code for error in caught.value.errors}


def test_several_wrong_fields_are_told_at_once() -> None:
    wrong = {
        "instance_type": 3,
        "colour": "red",
        "variants": {"v1": {"model_version": "m:v1", "weight": "many"}},
        "scaling": {"min_replicas": -1, "a/b~c": 1},
        "rollout": {"steps": [1, "two"]},
    }
    assert codes(wrong) == {
        "/spec/colour": "unknown_field",
        "/spec/instance_type": "invalid_value",
        "/spec/variants/v1/weight": "invalid_value",
        "/spec/scaling/a~1b~0c": "unknown_field",
        "/spec/scaling/min_replicas": "invalid_value",
        "/spec/rollout/steps/1": "invalid_value",
    }


def test_a_wrong_value_in_a_map_or_list_is_pointed_at_by_its_key_or_index() -> None:
    variant = {"model_version": "m:v1", "engine_args": {"max_model_len": 512, "a/b": None}}
    wrong = {
        **ONE,
        "variants": {"v1": variant},
        "labels": {"team": 1, "k" * 64: "long"},
        "scaling": {"schedule": {"day": {"cron": "0 9 * * *"}}},
        "rollout": {"steps": ["1", 100]},
    }
    assert codes(wrong) == {
        "/spec/variants/v1/engine_args/max_model_len": "invalid_value",
        "/spec/variants/v1/engine_args/a~1b": "invalid_value",
        "/spec/labels/team": "invalid_value",
        f"/spec/labels/{'k' * 64}": "invalid_value",
        "/spec/scaling/schedule/day/duration_s": "required",
        "/spec/rollout/steps/0": "invalid_value",
    }


def test_a_newline_does_not_turn_a_refused_word_into_an_accepted_one() -> None:
    wrong = {**ONE, "type": "batch\n", "rollout": {"strategy": "swap\n"}, "logging": {"content": "full\n"}}
    assert codes(wrong) == dict.fromkeys(("/spec/type", "/spec/rollout/strategy", "/spec/logging/content"), "invalid_value")
    assert codes({"artifact_prefixes": ["file:///models/", "s3://models/\n"]}, ProjectSpec) == {
        "/spec/artifact_prefixes/1": "invalid_value"
    }


@pytest.mark.parametrize("labels", [{"a\0": "b"}, {"a": "b\0"}])
def test_what_no_column_can_store_is_refused(labels: dict[str, str]) -> None:
    (pointer,) = codes({**ONE, "labels": labels})
    assert pointer == f"/spec/labels/{next(iter(labels))}"


@pytest.mark.parametrize("body", [None, [], "text", 3])
def test_a_body_that_is_no_object_is_one_error_at_the_root(body: object) -> None:
    assert codes(body) == {"/spec": "invalid_value"}


def test_missing_fields_are_required() -> None:
    assert codes({}) == {"/spec/instance_type": "required", "/spec/variants": "required"}


def test_null_is_not_a_value() -> None:
    assert codes({**ONE, "scaling": None}) == {"/spec/scaling": "invalid_value"}


@pytest.mark.parametrize(
    ("extra", "pointer"),
    [
        ({"type": "batch"}, "/spec/type"),
        ({"type": "serverless-async"}, "/spec/type"),
        ({"mode": "shared"}, "/spec/mode"),
        ({"async": {"callback_urls": []}}, "/spec/async"),
        ({"logging": {"content": "full"}}, "/spec/logging/content"),
        ({"logging": {"retention_days": 3}}, "/spec/logging/retention_days"),
    ],
)
def test_what_this_release_does_not_serve_is_refused_never_ignored(extra: dict[str, object], pointer: str) -> None:
    assert codes({**ONE, **extra}) == {pointer: "unsupported"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"variants": {}}, {"/spec/variants": "invalid_value"}),
        ({"variants": {"../v1": {"model_version": "m:v1"}}}, {"/spec/variants/..~1v1": "invalid_name"}),
        ({"variants": {"v1": {"model_version": "m"}}}, {"/spec/variants/v1/model_version": "invalid_value"}),
        ({"variants": {"v1": {"model_version": "m:v1", "weight": 90}}}, {"/spec/variants": "weights"}),
        (
            {"variants": {"a": {"model_version": "m:1"}, "b": {"model_version": "m:2", "weight": 100}}},
            {"/spec/variants/a/weight": "required"},
        ),
        ({"scaling": {"min_replicas": 3, "max_replicas": 2}}, {"/spec/scaling/max_replicas": "bounds"}),
        (
            {
                "variants": {"a": {"model_version": "m:1", "weight": 50}, "b": {"model_version": "m:2", "weight": 50}},
                "scaling": {"max_replicas": 1},
            },
            {"/spec/scaling/max_replicas": "bounds"},
        ),
        ({"mode": "serverless", "scaling": {"min_replicas": 1}}, {"/spec/scaling/min_replicas": "bounds"}),
        ({"type": "streaming", "mode": "serverless"}, {"/spec/mode": "bounds"}),
        ({"type": "streaming", "scaling": {"min_replicas": 0}}, {"/spec/scaling/min_replicas": "bounds"}),
        ({"rollout": {"steps": [10, 10, 100]}}, {"/spec/rollout/steps": "steps"}),
        ({"rollout": {"steps": [10, 50]}}, {"/spec/rollout/steps": "steps"}),
    ],
)
def test_rules_between_fields(spec: dict[str, object], expected: dict[str, str]) -> None:
    assert codes({**ONE, **spec}) == expected


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"cron": "0 9 * *"}, {"/cron": "invalid_value"}),
        ({"cron": "0 9 * * *", "timezone": "Mars/Base"}, {"/timezone": "invalid_value"}),
        ({"cron": "x", "timezone": "../UTC", "duration_s": 60}, {"/cron": "invalid_value", "/timezone": "invalid_value"}),
        ({"min_replicas": 5, "max_replicas": 4}, {"/max_replicas": "bounds"}),
        ({"min_replicas": UNSET}, {"": "required"}),
        ({"duration_s": 59}, {"/duration_s": "invalid_value"}),
        ({"max_replicas": 0}, {"/max_replicas": "invalid_value"}),
    ],
)
def test_a_schedule_is_checked_field_by_field(schedule: dict[str, object], expected: dict[str, str]) -> None:
    full = {"cron": "0 9 * * MON-FRI", "duration_s": 3600, "min_replicas": 2} | schedule
    day = {name: value for name, value in full.items() if value is not UNSET}
    found = codes({**ONE, "scaling": {"schedule": {"day": day}}})
    assert found == {f"/spec/scaling/schedule/day{pointer}": code for pointer, code in expected.items()}


def test_a_schedule_has_a_name_and_keeps_a_streaming_endpoint_above_zero() -> None:
    day = {"cron": "0 9 * * *", "duration_s": 3600, "min_replicas": 0}
    assert codes({**ONE, "scaling": {"schedule": {"a/b": day}}}) == {"/spec/scaling/schedule/a~1b": "invalid_name"}
    assert codes({**ONE, "type": "streaming", "scaling": {"schedule": {"day": day}}}) == {
        "/spec/scaling/schedule/day/min_replicas": "bounds"
    }


def test_a_serverless_endpoint_rests_at_zero_and_may_be_kept_warm_by_schedule() -> None:
    day = {"cron": "0 9 * * MON-FRI", "duration_s": 28800, "timezone": "Asia/Dhaka", "min_replicas": 2}
    full = effective(decode(EndpointSpec, {**ONE, "mode": "serverless", "scaling": {"schedule": {"day": day}}}))
    assert (full.min_replicas, full.max_replicas, full.schedule["day"].min_replicas) == (0, 1, 2)
    assert effective(decode(EndpointSpec, {**ONE, "scaling": {"min_replicas": 0}})).min_replicas == 0


def test_defaults_are_those_of_the_documentation() -> None:
    full = effective(decode(EndpointSpec, ONE))
    assert (full.type, full.mode, full.min_replicas, full.max_replicas) == ("realtime", "dedicated", 1, 1)
    assert (full.target_concurrency, full.request_timeout_s, full.steps) == (8, 300, (1, 10, 50, 100))
    assert (full.step_hold_s, full.bake_s, full.logging_content) == (60, 600, "redacted")
    assert full.variants["v1"].weight == 100


@pytest.mark.parametrize(
    "artifact", ["file:///models/../etc/passwd", "s3://bucket/a/./b", "file:///models/%2e%2e/x", "file:///a\\b", "http://host/x", "../x"]
)
def test_an_artifact_cannot_climb(artifact: str) -> None:
    assert codes({"artifact": artifact, "framework": "pytorch", "runtime": "cpu"}, ModelVersionSpec) == {"/spec/artifact": "invalid_value"}


def test_an_engine_must_say_where_it_listens_and_use_known_words() -> None:
    assert codes({"argv": ["serve", "--port", "80"]}, EngineSpec) == {"/spec/argv": "invalid"}
    assert codes({"argv": ["serve", "{socket}", "{home}"]}, EngineSpec) == {"/spec/argv/2": "invalid"}
    assert decode(EngineSpec, {"argv": ["serve", "{port}"], "listen": "port"}).listen == "port"


def test_an_accelerator_needs_its_count() -> None:
    assert codes({"cpu_millis": 1, "memory_mib": 1, "accelerator": "a10"}, InstanceTypeSpec) == {"/spec/accelerator_count": "required"}
    assert codes({"cpu_millis": 1, "memory_mib": 1, "accelerator_count": 1}, InstanceTypeSpec) == {"/spec/accelerator": "required"}
