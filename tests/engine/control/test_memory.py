"""What does not fit is refused before it is loaded, with the numbers and what would fit."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from engine.control import memory
from engine.control.memory import Load, Observed
from engine.node import memory_estimate
from storage.model_memory import Memory, Point
from storage.releases import Engine
from tests.engine.node.test_footprint import VERSION

GB = 10**9
ENGINE = Engine(context_tokens=8192, max_sequences=16)
MEASURED = Memory(
    weights_bytes=4 * GB,
    repacked=False,
    process_bytes=GB // 10,
    points=tuple(
        Point(
            context_tokens=tokens,
            max_sequences=sequences,
            cache_bytes=tokens * sequences * 50_000,
            compute_bytes=200_000_000 + tokens * 1000 + sequences * 500_000,
        )
        for tokens in (1024, 8192)
        for sequences in (1, 16)
    ),
)
LOAD = Load("llama-1.0.0", msgspec.structs.replace(VERSION, memory=MEASURED), ENGINE, 1, 0, False)


def test_settings_between_the_measured_ones_are_interpolated() -> None:
    """The cache exactly, as it is bilinear."""
    cache, compute = MEASURED.context_bytes(2048, 4)
    assert (cache, compute) == (2048 * 4 * 50_000, 200_000_000 + 2_048_000 + 2_000_000)


def test_each_adapter_has_a_context_of_its_own() -> None:
    """The weights are shared."""
    alone = memory_estimate.of(LOAD.weights, ENGINE, on_gpu=False)
    two = memory_estimate.of(LOAD.weights, ENGINE, on_gpu=False, adapters=2)
    assert two.cache_bytes == 3 * alone.cache_bytes
    assert two.weights_bytes == alone.weights_bytes


def test_what_fits_is_not_refused() -> None:
    """To the byte."""
    assert memory.decide(Observed((LOAD,), (), LOAD.needed_bytes, "in memory")) is None


def test_a_refusal_has_the_numbers_and_the_plans_that_fit() -> None:
    """Fewer sequences, less context, or another deployment drained first."""
    other = replace(LOAD, name="ops-1.0.0", engine=Engine(context_tokens=1024, max_sequences=4))
    refusal = memory.decide(Observed((LOAD,), (other,), 8 * GB, "in memory"))
    assert refusal is not None
    said = refusal.sentence
    assert said.startswith(
        "llama-1.0.0 does not fit: it needs 10.9 GB in memory (weights 4 GB, KV cache 6.55 GB, "
        "the rest 316 MB), and 8 GB are free."
    )
    assert "--max-sequences 8 or in a release with --context-tokens 4096" in said
    assert "once ops-1.0.0 (" in said
    for engine in memory_estimate.smaller(LOAD.weights, ENGINE, 8 * GB, on_gpu=False):
        assert memory_estimate.of(LOAD.weights, engine, on_gpu=False).more_bytes(0, 1) <= 8 * GB


def test_weights_that_do_not_fit_at_all_have_no_plan() -> None:
    """Nothing is promised that would not help."""
    refusal = memory.decide(Observed((LOAD,), (), GB, "in memory"))
    assert refusal is not None
    assert refusal.sentence.endswith("No smaller setting would fit.")
