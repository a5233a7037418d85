"""The allow-list of engine arguments: what passes, what is refused with which pointer, and how it reaches the command line."""

import pytest

from fleetform.domain.engine_args import ALLOWED, SET_BY_US, flags, problems

GOOD = {
    "gpu_memory_utilization": "0.9",
    "max_model_len": "2048",
    "tensor_parallel_size": "2",
    "enable_prefix_caching": "false",
    "enforce_eager": "true",
    "kv_cache_dtype": "fp8",
    "quantization": "awq",
    "speculative_config": '{"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4}',
    "default_chat_template_kwargs": '{"enable_thinking": false}',
    "tool_call_parser": "hermes",
}


def test_good_values_have_no_problems() -> None:
    assert problems("vllm", GOOD, "/spec/variants/v1/engine_args", accelerator_count=2) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gpu_memory_utilization", "1.01"),
        ("gpu_memory_utilization", "0"),
        ("gpu_memory_utilization", "nan"),
        ("max_model_len", "0"),
        ("max_model_len", "many"),
        ("max_model_len", "2048 --trust-remote-code"),
        ("enforce_eager", "True"),
        ("dtype", "int4"),
        ("generation_config", "/etc"),
        ("tool_call_parser", "../../evil"),
        ("quantization", "gguf"),
        ("speculative_config", '{"method": "ngram"}'),
        ("speculative_config", '{"method": "draft_model", "model": "/etc", "num_speculative_tokens": 2}'),
        ("speculative_config", '{"method": "ngram", "model": "/etc", "num_speculative_tokens": 2}'),
        ("speculative_config", '{"method": "ngram", "num_speculative_tokens": true}'),
        ("default_chat_template_kwargs", '{"a": {"b": 1}}'),
        ("default_chat_template_kwargs", "not json"),
    ],
)
def test_a_wrong_value_is_named_with_its_pointer(name: str, value: str) -> None:
    (error,) = problems("vllm", {name: value}, "/spec/engine_args")
    assert error.pointer == f"/spec/engine_args/{name}"
    assert error.code == "invalid_value"


@pytest.mark.parametrize(
    "name",
    [
        "trust_remote_code",
        "served_model_name",
        "uds",
        "middleware",
        "hf_overrides",
        "chat_template",
        "tool_parser_plugin",
        "worker_cls",
        "x/y",
    ],
)
def test_an_argument_outside_the_list_is_refused(name: str) -> None:
    (error,) = problems("vllm", {name: "1"}, "")
    assert error.code == "unknown_engine_arg"
    assert error.pointer == "/" + name.replace("/", "~1")


def test_every_wrong_argument_is_reported_at_once() -> None:
    found = problems("vllm", {"max_model_len": "x", "nonsense": "1", "dtype": "auto"}, "/a")
    assert [error.pointer for error in found] == ["/a/max_model_len", "/a/nonsense"]


def test_a_name_with_hyphens_is_told_the_right_spelling() -> None:
    (error,) = problems("vllm", {"max-model-len": "1"}, "")
    assert "'max_model_len'" in error.detail


def test_a_declared_engine_takes_no_arguments() -> None:
    (error,) = problems("llama-cpp", {"max_model_len": "2048"}, "")
    assert error.code == "unknown_engine_arg"
    assert "llama-cpp" in error.detail


@pytest.mark.parametrize(("devices", "count"), [(1, 1), (0, 1), (3, 1), (4, 0)])
def test_parallel_sizes_are_bounded_by_the_devices(devices: int, count: int) -> None:
    args = {"tensor_parallel_size": "2", "pipeline_parallel_size": "2"}
    found = problems("vllm", args, "", accelerator_count=devices)
    assert len(found) == count
    assert [error.code for error in found] == ["too_many_devices"] * count


def test_flags_are_sorted_and_booleans_become_switches() -> None:
    assert flags({"max_model_len": "2048", "enforce_eager": "true", "enable_prefix_caching": "false"}) == (
        "--no-enable-prefix-caching",
        "--enforce-eager",
        "--max-model-len",
        "2048",
    )


def test_nothing_is_both_allowed_and_reserved() -> None:
    assert not ALLOWED.keys() & SET_BY_US
