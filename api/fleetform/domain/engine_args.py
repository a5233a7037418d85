"""Which engine arguments a tenant may set, and what is wrong with the ones given.

The names are vLLM's own (0.32), with underscores. An argument that could name a file, another model, code, a network address or
where the engine listens is not here, and never will be by a prefix or a pattern: the list is the whole of it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fleetform.domain.decode import escape
from fleetform.errors import FieldError

Check = Callable[[str], str | None]
"""The value's text → what is wrong with it, or None."""

_NUMBER = re.compile(r"-?[0-9]{1,15}")
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_WORD = re.compile(r"[A-Za-z0-9_]{1,63}")


def problems(engine: str, args: Mapping[str, str], pointer: str, accelerator_count: int | None = None) -> list[FieldError]:
    """Every argument that engine does not take, or whose value is wrong; pointer is where args stands in the body.

    engine: `vllm`, or a declared engine's name, which takes none. accelerator_count: devices of the instance type (None: not known),
    which the parallel sizes must not exceed.
    """
    found = []
    for name, value in args.items():
        at = f"{pointer}/{escape(name)}"
        check = ALLOWED.get(name) if engine == "vllm" else None
        if check is None:
            found.append(FieldError(at, _why_not(engine, name), "unknown_engine_arg"))
            continue
        wrong = check(value)
        if wrong is not None:
            found.append(FieldError(at, f"{value!r} {wrong}", "invalid_value"))
    return found or _parallel_problems(args, pointer, accelerator_count)


def flags(args: Mapping[str, str]) -> tuple[str, ...]:
    """args, which have no problems, as vLLM's command line; sorted by name."""
    words: list[str] = []
    for name, value in sorted(args.items()):
        flag = name.replace("_", "-")
        if ALLOWED[name] is _boolean:
            words.append(f"--{flag}" if value == "true" else f"--no-{flag}")
        else:
            words += (f"--{flag}", value)
    return tuple(words)


def _why_not(engine: str, name: str) -> str:
    if engine != "vllm":
        return f"the engine {engine!r} takes no arguments; its command is declared by the region's administrators"
    if name.replace("-", "_") in ALLOWED:
        return f"write it {name.replace('-', '_')!r}"
    if name in SET_BY_US:
        return "is set by Fleetform itself"
    return f"not an engine argument that may be set; allowed: {', '.join(sorted(ALLOWED))}"


def _parallel_problems(args: Mapping[str, str], pointer: str, accelerator_count: int | None) -> list[FieldError]:
    if accelerator_count is None:
        return []
    names = [name for name in ("tensor_parallel_size", "pipeline_parallel_size") if name in args]
    wanted = 1
    for name in names:
        wanted *= int(args[name])
    have = max(accelerator_count, 1)
    if wanted <= have:
        return []
    return [FieldError(f"{pointer}/{names[0]}", f"needs {wanted} devices; the instance type has {accelerator_count}", "too_many_devices")]


def _whole(low: int, high: int) -> Check:
    def check(value: str) -> str | None:
        if _NUMBER.fullmatch(value) and low <= int(value) <= high:
            return None
        return f"must be a whole number from {low} to {high}"

    return check


def _fraction(low: float, high: float) -> Check:
    def check(value: str) -> str | None:
        if _DECIMAL.fullmatch(value) and low <= float(value) <= high:
            return None
        return f"must be a number from {low} to {high}"

    return check


def _one_of(*choices: str) -> Check:
    def check(value: str) -> str | None:
        return None if value in choices else f"must be one of {', '.join(choices)}"

    return check


def _boolean(value: str) -> str | None:
    return None if value in ("true", "false") else "must be 'true' or 'false'"


def _word(value: str) -> str | None:
    return None if _WORD.fullmatch(value) else "must be one word of letters, digits and '_'"


def _object(value: str) -> dict[str, Any] | None:
    try:
        decoded = msgspec.json.decode(value)
    except msgspec.DecodeError:
        return None
    return decoded if isinstance(decoded, dict) else None


def _template_values(value: str) -> str | None:
    decoded = _object(value)
    if decoded is None or not all(isinstance(item, str | int | float | bool) for item in decoded.values()):
        return "must be a JSON object of plain values"
    return None


def _speculative(value: str) -> str | None:
    """Speculation needs no second model in these methods; a draft model would be a file that no manifest covers."""
    decoded = _object(value)
    if decoded is None or decoded.get("method") not in ("ngram", "mtp"):
        return "must be a JSON object whose method is 'ngram' or 'mtp'"
    bounds = {"num_speculative_tokens": 16, "prompt_lookup_min": 64, "prompt_lookup_max": 64}
    if "num_speculative_tokens" not in decoded:
        return "must have num_speculative_tokens"
    for name, item in decoded.items():
        if name == "method":
            continue
        if name not in bounds:
            return f"has the unknown field {name!r}; known: method, {', '.join(bounds)}"
        if type(item) is not int or not 1 <= item <= bounds[name]:
            return f"has a {name} that is not a whole number from 1 to {bounds[name]}"
    return None


ALLOWED: dict[str, Check] = {
    "async_scheduling": _boolean,
    "block_size": _one_of("1", "8", "16", "32", "64", "128"),
    "cpu_offload_gb": _fraction(0, 4096),
    "default_chat_template_kwargs": _template_values,
    "dtype": _one_of("auto", "half", "float16", "bfloat16", "float", "float32"),
    "enable_auto_tool_choice": _boolean,
    "enable_chunked_prefill": _boolean,
    "enable_expert_parallel": _boolean,
    "enable_prefix_caching": _boolean,
    "enable_prompt_tokens_details": _boolean,
    "enforce_eager": _boolean,
    "generation_config": _one_of("auto", "vllm"),
    "gpu_memory_utilization": _fraction(0.01, 1),
    "kv_cache_dtype": _one_of("auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"),
    "kv_cache_memory_bytes": _whole(1, 2**50),
    "long_prefill_token_threshold": _whole(0, 10_000_000),
    "max_logprobs": _whole(0, 1000),
    "max_model_len": _whole(1, 100_000_000),
    "max_num_batched_tokens": _whole(1, 100_000_000),
    "max_num_queued_reqs": _whole(1, 1_000_000),
    "max_num_seqs": _whole(1, 65_536),
    "optimization_level": _one_of("0", "1", "2", "3"),
    "performance_mode": _one_of("balanced", "interactivity", "throughput"),
    "pipeline_parallel_size": _whole(1, 64),
    "quantization": _one_of(
        "awq",
        "awq_marlin",
        "compressed-tensors",
        "experts_int8",
        "fp8",
        "gptq",
        "gptq_marlin",
        "modelopt",
        "modelopt_fp4",
        "mxfp4",
        "torchao",
    ),
    "reasoning_parser": _word,
    "scheduling_policy": _one_of("fcfs", "priority"),
    "seed": _whole(0, 2**31 - 1),
    "speculative_config": _speculative,
    "stream_interval": _whole(1, 1000),
    "tensor_parallel_size": _whole(1, 64),
    "tool_call_parser": _word,
}

SET_BY_US = frozenset(
    {
        "allowed_origins",
        "api_key",
        "convert",
        "disable_log_stats",
        "download_dir",
        "enable_log_requests",
        "enable_sleep_mode",
        "host",
        "load_format",
        "middleware",
        "model",
        "port",
        "runner",
        "served_model_name",
        "shutdown_timeout",
        "task",
        "tokenizer",
        "trust_remote_code",
        "uds",
    }
)
