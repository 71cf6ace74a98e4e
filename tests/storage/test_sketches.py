"""Sketches: within 1 % of the exact quantile, and the same however they were merged."""

from __future__ import annotations

import itertools
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import sketches
from storage.sketches import Sketch

durations = st.one_of(
    st.integers(0, 10**12), st.floats(1e-3, 1e12, allow_nan=False, allow_infinity=False)
)
many = st.lists(durations, min_size=1, max_size=200)
quantiles = st.floats(0, 1)


def sketch(values: list[float]) -> Sketch:
    """A sketch of some values."""
    made = Sketch()
    for value in values:
        made.add(value)
    return made


@given(values=many, q=quantiles)
def test_a_quantile_is_within_one_percent(values: list[float], q: float) -> None:
    """Of the exact value of that rank, for any values and any quantile."""
    exact = sorted(values)[math.floor(q * (len(values) - 1))]
    found = sketch(values).quantile(q)
    assert found is not None
    assert abs(found - exact) <= sketches.ACCURACY * exact * (1 + 1e-9)


@given(a=many, b=many, c=many)
def test_merging_is_associative_commutative_and_exact(
    a: list[float], b: list[float], c: list[float]
) -> None:
    """Seconds into minutes into hours, in any order, is the sketch of everything."""
    left = sketch(a).merge(sketch(b)).merge(sketch(c))
    right = sketch(c).merge(sketch(b).merge(sketch(a)))
    assert left == right == sketch(a + b + c)


@given(values=many)
def test_a_sketch_survives_being_kept(values: list[float]) -> None:
    """What was written as JSON reads back as the same sketch."""
    made = sketch(values)
    kept = json.loads(json.dumps(made.to_dict()))
    assert Sketch.from_dict(kept) == made


@given(values=st.lists(st.integers(-5, 10**12), max_size=100), more=st.lists(st.integers(0, 9)))
def test_adding_many_is_adding_one_by_one(values: list[int], more: list[int]) -> None:
    """Zeros and negative values included, and onto what was there."""
    made = sketch(list(more))
    made.add_all(values)
    assert made == sketch([*more, *values])


def test_nothing_counted_has_no_quantile() -> None:
    """None, never a made-up number; and no bytes are kept for it."""
    empty = Sketch()
    assert (empty.quantile(0.5), empty.mean) == (None, None)
    assert empty.to_dict() == {}
    assert Sketch.from_dict({}) == empty


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_duration_is_not_counted(value: float) -> None:
    """A bug elsewhere must not spoil the seconds around it."""
    assert sketch([value, 5.0]).count == 1


def test_negative_durations_count_as_zero() -> None:
    """A clock that jumped back took no time."""
    assert sketch([-5.0, -1.0]).quantile(1) == 0.0


@given(values=many)
def test_sketches_of_earlier_versions_are_read(values: list[float]) -> None:
    """They have their counts by the name of the bucket."""
    made = sketch(values)
    kept = made.to_dict()
    pairs = kept.get("buckets", [])
    named = zip(itertools.accumulate(pairs[::2]), pairs[1::2], strict=True)
    kept["buckets"] = {str(index): times for index, times in named}
    assert Sketch.from_dict(json.loads(json.dumps(kept))) == made
