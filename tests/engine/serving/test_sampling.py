"""Tokens are sampled as the definitions say, each row as if it were alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine.serving import sampling
from engine.serving.sampling import Doubles, Floats


@dataclass(frozen=True)
class Way:
    """How one row is sampled."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 1
    position: int = 0


def rows(*ways: Way) -> sampling.Rows:
    """As the worker hands them over."""
    return sampling.Rows(
        temperature=np.array([way.temperature for way in ways], np.float32),
        top_k=np.array([way.top_k for way in ways], np.int64),
        top_p=np.array([way.top_p for way in ways], np.float32),
        min_p=np.array([way.min_p for way in ways], np.float32),
        seed=np.array([way.seed for way in ways], np.uint64),
        position=np.array([way.position for way in ways], np.uint64),
    )


def allowed(logits: Floats, way: Way) -> dict[int, float]:
    """The naive reference: sort everything, filter one after the other, renormalise."""
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    if way.top_k > 0:
        order = order[: way.top_k]
    peak = float(logits[order[0]])
    temperature = float(np.float32(way.temperature))
    weight = {t: math.exp((float(logits[t]) - peak) / temperature) for t in order}
    total = sum(weight.values())
    kept, before = dict[int, float](), 0.0
    for token in order:
        if way.top_p < 1 and before >= float(np.float32(way.top_p)) * total and kept:
            break
        if weight[token] >= float(np.float32(way.min_p)) or not kept:
            kept[token] = weight[token]
        before += weight[token]
    whole = sum(kept.values())
    return {token: value / whole for token, value in kept.items() if value > 0}


def logits_of(size: int, seed: int) -> Floats:
    """As a model gives them: a few likely tokens, a long tail."""
    return np.random.default_rng(seed).normal(0, 3, size).astype(np.float32)


sizes = st.sampled_from([1, 2, 7, 64, 255, 256, 257, 1000, 2250])
distinct = st.builds(logits_of, sizes, st.integers(0, 10_000))
# few distinct values, so that ties are everywhere
tied = sizes.flatmap(
    lambda size: arrays.arrays(
        np.float32, size, elements=st.sampled_from([-2.0, 0.0, 1.5, -np.inf])
    )
)
ways = st.builds(
    Way,
    temperature=st.sampled_from([0.0, 0.01, 0.7, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 2, 5, 40, 300, 5000]),
    top_p=st.sampled_from([0.1, 0.5, 0.9, 0.95, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    seed=st.integers(0, 2**64 - 1),
    position=st.integers(0, 100_000),
)
batches = st.tuples(st.integers(0, 10_000), st.lists(ways, min_size=1, max_size=8))


@given(distinct | tied)
def test_temperature_zero_is_the_most_likely_token(logits: Floats) -> None:
    """The first of them, if several are alike; none if every token is excluded."""
    expected = int(np.argmax(logits)) if np.isfinite(logits).any() else sampling.UNREAL
    assert sampling.sample(logits[None], rows(Way())).tolist() == [expected]


@settings(deadline=None)
@given(batches, st.sampled_from([np.nan, np.inf]), st.data())
def test_rows_that_are_no_numbers_get_no_token_and_change_no_other_row(
    batch: tuple[int, list[Way]], bad: float, data: st.DataObject
) -> None:
    """Wherever in the row the one bad number is, however the rows are sampled."""
    seed, many = batch
    logits = np.stack([logits_of(1000, seed + number) for number in range(len(many))])
    expected = sampling.sample(logits, rows(*many))
    spoilt = data.draw(st.sets(st.integers(0, len(many) - 1)))
    for row in spoilt:
        logits[row, data.draw(st.integers(0, 999))] = bad
        expected[row] = sampling.UNREAL
    assert sampling.sample(logits, rows(*many)).tolist() == expected.tolist()


@pytest.mark.parametrize("way", [Way(), Way(temperature=1.0), Way(temperature=1.0, top_k=3)])
def test_a_row_that_excludes_every_token_gets_none(way: Way) -> None:
    """Minus infinity excludes a token; what is left of nothing is nothing."""
    logits = np.full((1, 300), -np.inf, np.float32)
    assert sampling.sample(logits, rows(way)).tolist() == [sampling.UNREAL]
    logits[0, 7] = 1.0
    assert sampling.sample(logits, rows(way)).tolist() == [7]
    assert math.isnan(sampling.likely(np.full(3, np.nan, np.float32), 0, 2).chosen)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=4), sizes, st.data())
def test_the_k_best_are_exactly_the_k_best(ks: list[int], size: int, data: st.DataObject) -> None:
    """As sorting the whole vocabulary would give them, ties by token; rows do not disturb rows."""
    values = st.floats(-8, 8, width=16)
    batch = data.draw(arrays.arrays(np.float32, (len(ks), size), elements=values))
    ids, found = sampling.best(batch, np.array([min(k, size) for k in ks]))
    for row, k in enumerate(ks):
        expected = sorted(range(size), key=lambda token: (-batch[row, token], token))[:k]
        assert ids[row, : len(expected)].tolist() == expected
        assert found[row, : len(expected)].tolist() == batch[row, expected].tolist()
        assert np.isneginf(found[row, len(expected) :]).all()


@settings(deadline=None, max_examples=40)
@given(distinct, ways.filter(lambda way: way.temperature > 0))
def test_only_what_the_filters_leave_is_ever_drawn(logits: Floats, way: Way) -> None:
    """Top-k, then top-p, then min-p, against the naive reference, at the ends of the interval."""
    may = allowed(logits, way)
    with pytest.MonkeyPatch.context() as patch:
        for pick in (0.0, 0.5, 1 - 2**-53):
            patch.setattr(
                sampling, "uniforms", lambda seed, _at, pick=pick: np.full(len(seed), pick)
            )
            (token,) = sampling.sample(logits[None], rows(way)).tolist()
            assert token in may


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), ways.filter(lambda way: way.temperature > 0))
def test_each_token_gets_the_part_of_the_interval_that_is_its_probability(
    seed: int, way: Way
) -> None:
    """A fine, even grid of picks instead of chance: the shares are the reference's."""
    logits = logits_of(40, seed)
    grid = 400
    picks = (np.arange(grid) + 0.5) / grid
    batch = np.repeat(logits[None], grid, axis=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sampling, "uniforms", lambda seed, _at: picks if len(seed) == grid else picks[:1]
        )
        sampled = sampling.sample(batch, rows(*[way] * grid))
    shares = np.bincount(sampled, minlength=40) / grid
    expected = np.zeros(40)
    for token, share in allowed(logits, way).items():
        expected[token] = share
    assert np.abs(shares - expected).max() <= 1.01 / grid


@pytest.mark.parametrize(
    "way",
    [
        Way(temperature=1.0),
        Way(temperature=0.5),
        Way(temperature=1.5, top_k=8),
        Way(temperature=1.0, top_p=0.9),
        Way(temperature=1.0, min_p=0.1),
    ],
    ids=str,
)
def test_many_draws_are_distributed_as_the_tempered_logits(way: Way) -> None:
    """Chi-square over 6,000 positions of one seed; the seed is fixed, so the verdict is, too."""
    logits = logits_of(12, 3) / np.float32(3)
    count = 6_000
    many = [Way(way.temperature, way.top_k, way.top_p, way.min_p, 42, p) for p in range(count)]
    sampled = np.bincount(sampling.sample(np.repeat(logits[None], count, axis=0), rows(*many)))
    expected = allowed(logits, way)
    assert set(np.flatnonzero(sampled).tolist()) <= set(expected)
    statistic = sum(
        (sampled[token] - count * share) ** 2 / (count * share)
        for token, share in expected.items()
        if token < len(sampled)
    )
    degrees = len(expected) - 1
    # Wilson and Hilferty's approximation of the 99.9 % point
    limit = degrees * (1 - 2 / (9 * degrees) + 3.09 * np.sqrt(2 / (9 * degrees))) ** 3
    assert statistic < limit


@settings(deadline=None, max_examples=30)
@given(batches, st.randoms(use_true_random=False))
def test_a_row_is_drawn_alike_alone_in_company_and_in_any_order(
    batch: tuple[int, list[Way]], dice: object
) -> None:
    """What else is in the batch changes no token."""
    seed, many = batch
    logits = np.stack([logits_of(500, seed + row) for row in range(len(many))])
    together = sampling.sample(logits, rows(*many)).tolist()
    alone = [
        sampling.sample(logits[row : row + 1], rows(way)).item() for row, way in enumerate(many)
    ]
    assert together == alone
    order = list(range(len(many)))
    dice.shuffle(order)  # type: ignore[attr-defined]
    shuffled = sampling.sample(logits[order], rows(*[many[row] for row in order])).tolist()
    assert shuffled == [together[row] for row in order]


@settings(deadline=None, max_examples=40)
@given(distinct | tied, ways, st.integers(sampling.FEW + 1, 9))
def test_a_row_alone_is_drawn_as_many_rows_are(logits: Floats, way: Way, count: int) -> None:
    """One by one or in one pass, from single-precision parameters: the same token."""
    (one, *others) = sampling.sample(np.repeat(logits[None], count, axis=0), rows(*[way] * count))
    assert set(others) == {one}
    assert one == sampling.draw(
        logits,
        temperature=float(np.float32(way.temperature)),
        top_k=way.top_k,
        top_p=float(np.float32(way.top_p)),
        min_p=float(np.float32(way.min_p)),
        pick=sampling.uniform(way.seed, way.position),
    )


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_one_number_is_the_one_that_arrays_give(seed: int, position: int) -> None:
    """Also where the sums wrap around."""
    many = sampling.uniforms(np.array([seed], np.uint64), np.array([position], np.uint64))
    assert many.tolist() == [sampling.uniform(seed, position)]


def test_the_same_seed_and_position_give_the_same_number_anywhere() -> None:
    """And neighbours in either give another; all lie in [0, 1)."""
    seeds = np.arange(2000, dtype=np.uint64) // np.uint64(50)
    positions = np.arange(2000, dtype=np.uint64) % np.uint64(50)
    found = sampling.uniforms(seeds, positions)
    assert found.tolist() == [
        sampling.uniforms(seeds[i : i + 1], positions[i : i + 1]).item() for i in range(2000)
    ]
    assert len(set(found.tolist())) == 2000
    assert 0 <= found.min() <= found.max() < 1
    assert abs(found.mean() - 0.5) < 0.02


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_every_seed_gives_a_number_below_one(seed: int, position: int) -> None:
    """Also where the sums wrap around."""
    found = sampling.uniforms(np.array([seed], np.uint64), np.array([position], np.uint64))
    assert 0 <= found.item() < 1


def log_softmax(logits: Floats) -> Doubles:
    """The textbook's."""
    shifted = logits.astype(np.float64) - logits.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


@settings(deadline=None)
@given(distinct, st.integers(0, 20), st.data())
def test_logprobs_are_the_log_softmax_best_first(
    logits: Floats, top: int, data: st.DataObject
) -> None:
    """Of the chosen token, however unlikely, and of as many others as were asked for."""
    token = data.draw(st.integers(0, len(logits) - 1))
    expected = log_softmax(logits)
    found = sampling.likely(logits, token, top)
    order = sorted(range(len(logits)), key=lambda t: (-logits[t], t))[:top]
    assert list(found.tokens) == order
    np.testing.assert_allclose(found.logprobs, expected[order], atol=1e-5)
    np.testing.assert_allclose(found.chosen, expected[token], atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.lists(ways, min_size=1, max_size=8), st.data())
def test_the_best_candidates_give_the_tokens_that_all_logits_give(
    seed: int, many: list[Way], data: st.DataObject
) -> None:
    """In whatever order a device returns them, also beside a row that is no distribution."""
    asked = rows(*(replace(way, top_k=min(max(way.top_k, 1), 64)) for way in many))
    logits = np.stack([logits_of(1000, seed + row) for row in range(len(many))])
    for row in data.draw(st.sets(st.integers(0, len(many) - 1), max_size=2)):
        logits[row, 5] = np.nan
    tokens = np.argsort(-np.nan_to_num(logits, nan=np.inf), axis=1, kind="stable")[:, :64]
    tokens = np.random.default_rng(seed).permuted(tokens, axis=1)
    best = sampling.Best(tokens.astype(np.int32), np.take_along_axis(logits, tokens, 1))
    assert sampling.among(best, asked).tolist() == sampling.sample(logits, asked).tolist()
