"""Metrics of other servers: the names that they use today, and nothing made up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.backends.upstream import exposition
from engine.backends.upstream.exposition import Load

VLLM = """
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 7.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.4
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.1
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",num_gpu_blocks="1000",engine="0"} 1.0
# TYPE vllm:prompt_tokens counter
vllm:prompt_tokens_total{engine="0",model_name="m"} 1200.0
# TYPE vllm:generation_tokens counter
vllm:generation_tokens_total{engine="0",model_name="m"} 340.0
"""
LLAMA_SERVER = """
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 45
# TYPE llamacpp:tokens_predicted_total counter
llamacpp:tokens_predicted_total 17
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 2
# TYPE llamacpp:requests_deferred gauge
llamacpp:requests_deferred 1
"""
SGLANG = """
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{model_name="m"} 4
# TYPE sglang:num_queue_reqs gauge
sglang:num_queue_reqs{model_name="m"} 0
# TYPE sglang:num_used_tokens gauge
sglang:num_used_tokens{model_name="m"} 512
# TYPE sglang:max_total_num_tokens gauge
sglang:max_total_num_tokens{model_name="m"} 8192
"""


@pytest.mark.parametrize(
    ("text", "load"),
    [
        (VLLM, Load(5, 7, 4000, 16000, 1200, 340, 0.25)),
        (LLAMA_SERVER, Load(2, 1, None, None, 45, 17)),
        (SGLANG, Load(4, 0, 512, 8192, None, None)),
        ("vllm:gpu_cache_usage_perc 0.5\nvllm:num_requests_running 1\n", Load(1, kv_share=0.5)),
        ("llamacpp:requests_processing NaN\nllamacpp:requests_deferred 1\n", Load(waiting=1)),
    ],
)
def test_each_server_is_read_by_its_own_names(text: str, load: Load) -> None:
    """Engines are added up, their shares averaged; of a cache of unknown size it stays a share."""
    assert exposition.read(text) == load


@pytest.mark.parametrize(
    "text", ["", "<html>", "go_goroutines 7\n", "vllm:num_requests_running{\n"]
)
def test_what_is_no_exposition_is_no_load(text: str) -> None:
    """An error page, or another program's metrics, say nothing."""
    assert exposition.read(text) is None


@given(text=st.text(max_size=200) | st.text(max_size=60).map(lambda t: VLLM[:300] + t))
def test_nothing_that_a_server_sends_raises(text: str) -> None:
    """Hostile metrics cost a sample, never the tick."""
    load = exposition.read(text)
    assert load is None or (load.running or 0) >= 0


def test_figures_that_the_store_cannot_hold_are_cut_off() -> None:
    """Two replicas just below 2**63 add up to more, and labels are text of any length."""
    load = exposition.read(
        'vllm:generation_tokens_total{engine="0"} 9e18\n'
        'vllm:generation_tokens_total{engine="1"} 9e18\n'
        f'vllm:cache_config_info{{num_gpu_blocks="{10**30}",block_size="16"}} 1\n'
    )
    assert load is not None
    assert load.completion_tokens is not None
    assert load.kv_total_tokens is not None
    assert max(load.completion_tokens, load.kv_total_tokens) < 2**63
