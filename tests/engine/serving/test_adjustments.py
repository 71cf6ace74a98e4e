"""Penalties, bias and minimum length change the logits as their definitions say."""

from __future__ import annotations

import ctypes
import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.serving import adjustments, wire
from engine.serving.sampling import Floats

V = 12
tokens = st.integers(0, V - 1)
penalties = st.sampled_from([-2.0, -0.5, 0.0, 0.3, 1.7])
samplings = st.builds(
    wire.Sampling,
    temperature=st.just(1.0), top_k=st.just(0), top_p=st.just(1.0), min_p=st.just(0.0),
    seed=st.just(1),
    repetition_penalty=st.sampled_from([0.5, 1.0, 1.0, 1.3, 4.0]),
    frequency_penalty=penalties,
    presence_penalty=penalties,
    repeat_last_n=st.none() | st.integers(-1, 9),
    min_tokens=st.integers(0, 6),
    ignore_eos=st.booleans(),
    logit_bias=st.dictionaries(tokens, st.floats(-100, 100, width=16)).map(
        lambda bias: tuple(bias.items())
    ),
)  # fmt: skip
texts = st.tuples(st.lists(tokens, max_size=12), st.lists(tokens, max_size=12))
STOPS = frozenset({3, 5})
MODEL_ENDS = frozenset({3, 7})


def reference(
    logits: Floats, sampling: wire.Sampling, prompt: Sequence[int], generated: Sequence[int]
) -> Floats:
    """Token by token, from the definitions."""
    changed = logits.copy()
    for token, bias in sampling.logit_bias:
        changed[token] += np.float32(bias)
    whole = [*prompt, *generated]
    window = sampling.repeat_last_n
    if window is None:
        seen, counts = Counter(whole), Counter(generated)
    else:
        last = whole if window < 0 else whole[len(whole) - min(window, len(whole)) :]
        seen = counts = Counter(last)
    for token in seen:
        by = np.float32(sampling.repetition_penalty)
        changed[token] = changed[token] / by if changed[token] > 0 else changed[token] * by
    for token, count in counts.items():
        changed[token] -= np.float32(count) * np.float32(sampling.frequency_penalty) + np.float32(
            sampling.presence_penalty
        )
    if len(generated) < sampling.min_tokens:
        changed[sorted(STOPS | MODEL_ENDS)] = -np.inf
    if sampling.ignore_eos:
        changed[sorted(MODEL_ENDS)] = -np.inf
    return changed


def adjusted(logits: Floats, many: Sequence[tuple[wire.Sampling, list[int], list[int]]]) -> Floats:
    """As the worker does it, a row for each; rows that nothing changes are left out."""
    changed = logits.copy()
    rows = []
    for place, (sampling, prompt, generated) in enumerate(many):
        shared = functools.partial(adjustments.tally, prompt) if place % 2 else None
        adjustment = adjustments.of(sampling, prompt, STOPS, MODEL_ENDS, shared)
        if adjustment is not None:
            for token in generated:
                adjustment.push(token)
            rows.append((place, adjustment))
    if rows:
        adjustments.apply(changed, rows)
    return changed


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(samplings, texts), min_size=1, max_size=5), st.integers(0, 10_000))
def test_every_row_is_changed_as_if_it_were_alone(
    many: list[tuple[wire.Sampling, tuple[list[int], list[int]]]], seed: int
) -> None:
    """Against the plain definitions, however the rows of a step are mixed."""
    logits = np.random.default_rng(seed).normal(0, 3, (len(many), V)).astype(np.float32)
    found = adjusted(logits, [(sampling, *both) for sampling, both in many])
    for row, (sampling, (prompt, generated)) in enumerate(many):
        expected = reference(logits[row], sampling, prompt, generated)
        np.testing.assert_array_equal(found[row], expected)


def by_llama(logits: Floats, sampling: wire.Sampling, whole: Sequence[int], window: int) -> Floats:
    """What llama.cpp's own samplers make of it."""
    data = (llama_cpp.llama_token_data * V)(
        *(llama_cpp.llama_token_data(token, float(logits[token]), 0.0) for token in range(V))
    )
    row = llama_cpp.llama_token_data_array(data, V, -1, False)
    bias = (llama_cpp.llama_logit_bias * max(len(sampling.logit_bias), 1))(
        *(llama_cpp.llama_logit_bias(token, value) for token, value in sampling.logit_bias)
    )
    chain: list[Any] = [
        llama_cpp.llama_sampler_init_logit_bias(V, len(sampling.logit_bias), bias),
        llama_cpp.llama_sampler_init_penalties(
            V,
            window,
            sampling.repetition_penalty,
            sampling.frequency_penalty,
            sampling.presence_penalty,
        ),
    ]
    for sampler in chain:
        for token in whole:
            llama_cpp.llama_sampler_accept(sampler, token)
        llama_cpp.llama_sampler_apply(sampler, ctypes.byref(row))
        llama_cpp.llama_sampler_free(sampler)
    changed = np.empty(V, np.float32)
    for each in data:
        changed[each.id] = each.logit
    return changed


@settings(deadline=None, max_examples=40)
@given(samplings, texts, st.integers(0, 9), st.integers(0, 10_000))
def test_with_a_window_the_logits_are_those_of_llama_cpp(
    sampling: wire.Sampling, both: tuple[list[int], list[int]], window: int, seed: int
) -> None:
    """Its own C samplers get the same logits and the same tokens; not a bit differs."""
    prompt, generated = both
    logits = np.random.default_rng(seed).normal(0, 3, (1, V)).astype(np.float32)
    expected = by_llama(logits[0], sampling, [*prompt, *generated], window)
    kept = {"repeat_last_n": window, "min_tokens": 0, "ignore_eos": False}
    windowed = wire.Sampling(**{**_fields(sampling), **kept})
    found = adjusted(logits, [(windowed, prompt, generated)])
    np.testing.assert_array_equal(found[0], expected)


def _fields(sampling: wire.Sampling) -> dict[str, Any]:
    return {name: getattr(sampling, name) for name in sampling.__struct_fields__}


@given(st.lists(tokens, max_size=30), st.integers(0, 12), st.lists(tokens, max_size=30))
def test_a_window_counts_its_last_tokens_and_no_others(
    before: list[int], window: int, after: list[int]
) -> None:
    """Whatever has entered and left it."""
    counts = adjustments.Counts(before, window)
    for token in after:
        counts.push(token)
    whole = [*before, *after]
    last = Counter(whole[max(len(whole) - window, 0) :] if window else ())
    assert dict(zip(counts.tokens.tolist(), counts.counts.tolist(), strict=True)) == last


def test_sequences_that_begin_with_one_tally_count_apart() -> None:
    """The choices of a request have the same prompt."""
    known = adjustments.tally([1, 1, 2])
    one, other = (adjustments.Counts([1, 1, 2], known=known) for _ in range(2))
    one.push(2)
    one.push(7)
    assert dict(zip(one.tokens.tolist(), one.counts.tolist(), strict=True)) == {1: 2, 2: 2, 7: 1}
    for same in (other, known):
        assert dict(zip(same.tokens.tolist(), same.counts.tolist(), strict=True)) == {1: 2, 2: 1}


def test_a_thousand_distinct_tokens_are_counted() -> None:
    """More than there is room for at first."""
    counts = adjustments.Counts()
    for token in range(1000):
        counts.push(token)
        counts.push(token)
    assert counts.tokens.tolist() == list(range(1000))
    assert set(counts.counts.tolist()) == {2.0}


def test_most_requests_have_no_adjustment() -> None:
    """So that a row without one costs nothing."""
    plain = wire.Sampling(0.7, 40, 0.95, 0.0, 1)
    assert adjustments.of(plain, [1, 2], STOPS, MODEL_ENDS) is None
    off = wire.Sampling(0.7, 40, 0.95, 0.0, 1, 1.5, 0.2, 0.2, 0)
    assert adjustments.of(off, [1, 2], STOPS, MODEL_ENDS) is None
