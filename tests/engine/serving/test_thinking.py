"""Reasoning ends after so many tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.serving.thinking import ThinkingLimit

CLOSE = 99
PIECES = {
    1: b"<think>",
    2: b"a",
    3: b"</think>",
    4: b"\n",
    5: b"<th",
    6: b"ink>",
    CLOSE: b"</think>",
}


def written(sampled: list[int], budget: int, *, inside: bool) -> list[int]:
    """The tokens of an answer whose model would write these."""
    limit = ThinkingLimit(
        budget, opening="<think>", closing="</think>", closing_tokens=(4, CLOSE), inside=inside
    )
    tokens = []
    for token in sampled:
        tokens.append(limit.next(token))
        limit.push(PIECES[tokens[-1]])
    return tokens


@pytest.mark.parametrize(
    ("sampled", "inside", "expected"),
    [
        ([1, 2, 2, 2, 2, 2], False, [1, 2, 2, 4, CLOSE, 2]),
        ([5, 6, 2, 2, 2, 2, 2], False, [5, 6, 2, 2, 4, CLOSE, 2]),
        ([4, 1, 2, 2, 2, 2, 2], False, [4, 1, 2, 2, 4, CLOSE, 2]),
        ([2, 2, 2, 2], True, [2, 2, 4, CLOSE]),
        ([2, 3, 2, 2, 2], True, [2, 3, 2, 2, 2]),
        ([2, 2, 2, 2, 2], False, [2, 2, 2, 2, 2]),
        ([2, 1, 2, 2, 2], False, [2, 1, 2, 2, 2]),
    ],
)
def test_the_closing_mark_is_forced_when_the_budget_is_used_up(
    sampled: list[int], inside: bool, expected: list[int]
) -> None:
    """Only inside reasoning, which begins an answer or was opened by the prompt."""
    assert written(sampled, 2, inside=inside) == expected


def test_a_budget_of_nothing_closes_at_once() -> None:
    """The first sampled token is not used."""
    assert written([2, 2, 2], 0, inside=True) == [4, CLOSE, 2]


@given(st.lists(st.sampled_from([1, 2, 3, 4, 5, 6]), max_size=30), st.integers(0, 6), st.booleans())
def test_it_is_forced_at_most_once(sampled: list[int], budget: int, inside: bool) -> None:
    """Whatever the model does; and without reasoning nothing is changed."""
    tokens = written(sampled, budget, inside=inside)
    assert tokens.count(CLOSE) <= 1
    if CLOSE not in tokens:
        assert tokens in (sampled, [*sampled[:-1], 4])
