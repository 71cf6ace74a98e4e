"""The load of a server, read from the `/metrics` of vLLM, SGLang, llama-server and Paddock.

Parsed by prometheus_client. A metric that a server does not have is None, never 0. Pure.
Imported by its neighbours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

LIMIT: Final = 4 * 1024 * 1024

_RUNNING: Final = (
    "vllm:num_requests_running", "sglang:num_running_reqs", "llamacpp:requests_processing",
    "paddock_worker_running",
)  # fmt: skip
_WAITING: Final = (
    "vllm:num_requests_waiting", "sglang:num_queue_reqs", "llamacpp:requests_deferred",
    "paddock_worker_waiting",
)  # fmt: skip
_KV_SHARE: Final = (
    "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage",
    "llamacpp:kv_cache_usage_ratio",
)  # fmt: skip
_KV_USED: Final = (
    "sglang:num_used_tokens", "llamacpp:kv_cache_tokens", "paddock_worker_kv_used_tokens",
)  # fmt: skip
_KV_TOTAL: Final = ("sglang:max_total_num_tokens", "paddock_worker_kv_total_tokens")
_PROMPT: Final = (
    "vllm:prompt_tokens_total", "sglang:prompt_tokens_total", "llamacpp:prompt_tokens_total",
)  # fmt: skip
_COMPLETION: Final = (
    "vllm:generation_tokens_total", "sglang:generation_tokens_total",
    "llamacpp:tokens_predicted_total",
)  # fmt: skip
_CACHE: Final = "vllm:cache_config_info"
_MOST: Final = 2**53
"""The largest figure that is passed on: the store takes it, and so do sums of a few."""
_KNOWN: Final = frozenset(
    {*_RUNNING, *_WAITING, *_KV_SHARE, *_KV_USED, *_KV_TOTAL, *_PROMPT, *_COMPLETION, _CACHE}
)


@dataclass(frozen=True, slots=True)
class Load:
    """A server's own figures; the tokens are totals since its start, `kv_share` is 0 to 1."""

    running: int | None = None
    waiting: int | None = None
    kv_used_tokens: int | None = None
    kv_total_tokens: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    kv_share: float | None = None


def read(text: str) -> Load | None:
    """The load from an exposition; None if it is invalid or has none of the known metrics."""
    totals: dict[str, float] = {}
    engines: Counter[str] = Counter()
    blocks = 0
    try:
        for sample in _samples(text):
            if sample.name == _CACHE:
                blocks += _tokens(sample.labels)
            elif abs(sample.value) < 2**63:  # neither NaN nor infinite
                totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
                engines[sample.name] += 1
    except (ValueError, KeyError, IndexError, AttributeError, TypeError):
        return None
    if not totals:
        return None
    shares: dict[str, float] = {
        name: totals[name] / engines[name] for name in _KV_SHARE if name in totals
    }
    share = _first(shares, _KV_SHARE)
    total = _whole(totals, _KV_TOTAL) or (min(blocks, _MOST) or None)
    used = _whole(totals, _KV_USED)
    if share is not None:
        share = min(max(share, 0.0), 1.0)
        used = round(share * total) if used is None and total is not None else used
    return Load(
        running=_whole(totals, _RUNNING),
        waiting=_whole(totals, _WAITING),
        kv_used_tokens=used,
        kv_total_tokens=total,
        prompt_tokens=_whole(totals, _PROMPT),
        completion_tokens=_whole(totals, _COMPLETION),
        kv_share=share,
    )


def _samples(text: str) -> Iterable[Sample]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in _KNOWN:
                yield sample


def _tokens(labels: dict[str, str]) -> int:
    """The size of a vLLM engine's KV cache."""
    blocks, size = labels.get("num_gpu_blocks", ""), labels.get("block_size", "")
    return int(blocks) * int(size) if blocks.isdecimal() and size.isdecimal() else 0


def _first(totals: dict[str, float], names: tuple[str, ...]) -> float | None:
    return next((totals[name] for name in names if name in totals), None)


def _whole(totals: dict[str, float], names: tuple[str, ...]) -> int | None:
    value = _first(totals, names)
    return None if value is None else min(max(0, int(value)), _MOST)
