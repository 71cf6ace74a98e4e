"""Time is measured, learnt from, and divided without a rest."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.serving import step_cost

weights = st.lists(st.floats(0, 1e9), min_size=1, max_size=300)


@given(st.integers(0, 10**12), weights)
def test_the_shares_of_a_step_add_up_to_the_step(total: int, many: list[float]) -> None:
    """Exactly, in whole microseconds, none negative."""
    parts = step_cost.shares(total, many)
    assert sum(parts) == total
    assert min(parts) >= 0
    assert len(parts) == len(many)


@given(st.integers(0, 10**9), weights.filter(lambda many: sum(many) > 0))
def test_each_share_is_the_weight_s_to_a_microsecond(total: int, many: list[float]) -> None:
    """Rounding is spread, not left to the last one."""
    whole = sum(many)
    for part, weight in zip(step_cost.shares(total, many), many, strict=True):
        assert part == pytest.approx(total * weight / whole, abs=1.01)


def test_without_weights_the_parts_are_equal() -> None:
    """And without sequences there are none."""
    assert step_cost.shares(9, [0.0, 0.0, 0.0]) == [3, 3, 3]
    assert step_cost.shares(9, []) == []


@settings(max_examples=40, deadline=None)
@given(st.floats(1000, 50_000), st.floats(10, 5_000), st.floats(1, 2_000), st.integers(0, 10_000))
def test_the_costs_of_a_step_are_found_from_steps(
    fixed: float, decode: float, prefill: float, seed: int
) -> None:
    """Rows and tokens vary, so what a step of any shape takes is known well enough."""
    dice = random.Random(seed)
    cost = step_cost.Cost()
    for _ in range(160):
        rows, tokens = dice.randrange(0, 17), dice.choice([0, 0, 0, 16, 100, 256])
        cost.observe(rows, tokens, round(fixed + decode * rows + prefill * tokens))
    assert cost.known
    shapes = ((16, 0), (8, 128), (0, 256))
    true = [fixed + decode * rows + prefill * tokens for rows, tokens in shapes]
    found = [cost.step_us(*shape) for shape in shapes]
    assert found == pytest.approx(true, abs=0.05 * max(true))


@given(
    st.lists(
        st.tuples(st.integers(0, 256), st.integers(0, 8192), st.integers(0, 10**8)), max_size=60
    )
)
def test_whatever_is_observed_the_costs_stay_finite_and_positive(
    steps: list[tuple[int, int, int]],
) -> None:
    """They divide time and judge deadlines: a negative or infinite one would break both."""
    cost = step_cost.Cost()
    for step in steps:
        cost.observe(*step)
    for value in (cost.fixed, cost.decode, cost.prefill):
        assert 0 <= value < 1e12
    assert cost.known == (len(steps) >= 8)


def test_a_machine_that_became_slower_is_believed() -> None:
    """The past is forgotten: after a few hundred steps the new cost holds."""
    cost = step_cost.Cost()
    for speed in (1, 10):
        for step in range(320):
            cost.observe(step % 5 + 1, 0, speed * (1000 + 100 * (step % 5 + 1)))
    assert cost.step_us(4, 0) == pytest.approx(14_000, rel=0.05)


def test_an_average_begins_with_the_first_value_and_follows_the_latest() -> None:
    """None until something was seen."""
    average = step_cost.Average(keep=0.5)
    assert average.value is None
    seen: list[float | None] = []
    for value in (8.0, 4.0, 4.0):
        average.add(value)
        seen.append(average.value)
    assert seen == [8.0, 6.0, 5.0]


def test_steps_of_one_shape_leave_the_figures_as_they_were() -> None:
    """They tell nothing of what is fixed and what each row and token takes."""
    cost = step_cost.Cost()
    for rows, tokens in [(1, 0), (4, 0), (8, 16), (2, 64), (0, 100), (6, 30)] * 20:
        cost.observe(rows, tokens, 520 + 124 * rows + 75 * tokens)
    known = (cost.fixed, cost.decode, cost.prefill)
    for _ in range(1000):
        cost.observe(1, 256, 520 + 124 + 75 * 256)
    found = (cost.fixed, cost.decode, cost.prefill)
    assert all(abs(a - b) <= 0.1 * b for a, b in zip(found, known, strict=True))
