"""What an engine says of itself, out of the text of vLLM's `/metrics` (0.32). Pure. What it does not say is None."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_SAMPLE = re.compile(r"^vllm:(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Metrics(NamedTuple):
    """Summed over an engine's parts (data parallel ranks), kv_usage (0–1) as the fullest has it.

    token_capacity: tokens that the KV cache holds. prompt_tokens_mean: of the requests that it has ended since its start.
    """

    running: int | None = None
    waiting: int | None = None
    kv_usage: float | None = None
    token_capacity: int | None = None
    prompt_tokens_mean: float | None = None


def parse(text: str) -> Metrics:
    """Metrics of another engine, or anything else, say nothing."""
    values: dict[str, list[float]] = {}
    capacities: list[int] = []
    for name, labels, value in _samples(text):
        if name == "cache_config_info":
            capacity = _capacity(labels)
            capacities.extend([] if capacity is None else [capacity])
        else:
            values.setdefault(name, []).append(value)
    prompts, prompt_tokens = _sum(values.get("request_prompt_tokens_count")), _sum(values.get("request_prompt_tokens_sum"))
    return Metrics(
        running=_whole(_sum(values.get("num_requests_running"))),
        waiting=_whole(_sum(values.get("num_requests_waiting"))),
        kv_usage=max(values["kv_cache_usage_perc"], default=None) if "kv_cache_usage_perc" in values else None,
        token_capacity=sum(capacities) or None,
        prompt_tokens_mean=prompt_tokens / prompts if prompts and prompt_tokens is not None else None,
    )


def _samples(text: str) -> Iterator[tuple[str, str, float]]:
    for match in _SAMPLE.finditer(text):
        try:
            value = float(match[3])
        except ValueError:
            continue
        if value == value and abs(value) != float("inf"):
            yield match[1], match[2] or "", value


def _capacity(labels: str) -> int | None:
    """What vLLM counted itself, since blocks times their size is wrong for models with several kinds of attention; else that."""
    found = dict(_LABEL.findall(labels))
    for product in (("kv_cache_size_tokens",), ("num_gpu_blocks", "block_size")):
        factors = [found.get(name, "") for name in product]
        if all(factor.isdigit() for factor in factors):
            total = 1
            for factor in factors:
                total *= int(factor)
            return total
    return None


def _sum(values: list[float] | None) -> float | None:
    return None if values is None else sum(values)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
