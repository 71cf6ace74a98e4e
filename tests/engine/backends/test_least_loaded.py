"""Which copy gets the next request."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.backends import least_loaded

LOADS = st.lists(st.none() | st.integers(0, 3), max_size=6)


@given(LOADS, st.integers(-1, 9))
def test_the_least_loaded_copy_is_picked(loads: list[int | None], last: int) -> None:
    """None only if no copy can take a request; `last` may be of a larger set."""
    known = [load for load in loads if load is not None]
    picked = least_loaded.pick(loads, last)
    assert (None if picked is None else loads[picked]) == min(known, default=None)


@given(st.integers(1, 6), st.integers(-1, 5), st.integers(0, 3))
def test_idle_copies_take_turns(copies: int, last: int, load: int) -> None:
    """Each gets one request in each round."""
    seen = []
    for _ in range(copies):
        picked = least_loaded.pick([load] * copies, last)
        assert picked is not None
        seen.append(last := picked)
    assert sorted(seen) == list(range(copies))


def test_a_copy_that_has_computed_the_prompt_is_preferred_within_bounds() -> None:
    """All of it outweighs three requests more, half of it one; neither outweighs ten."""
    assert least_loaded.pick([3, 0], 0, [1.0, 0.0]) == 0
    assert least_loaded.pick([1, 0], 0, [0.5, 0.0]) == 0
    assert least_loaded.pick([3, 0], 0, [0.5, 0.0]) == 1
    assert least_loaded.pick([10, 0], 0, [1.0, 0.0]) == 1
    assert least_loaded.pick([None, 7], 0, [1.0, 0.0]) == 1
