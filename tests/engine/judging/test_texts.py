"""How alike two answers are said to be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.judging import texts

_WORDS = st.lists(st.sampled_from(["restart", "the", "worker", "now", "GPU"]))


@pytest.mark.parametrize(
    ("before", "after", "f1"),
    [
        ("Restart the worker.", "restart the worker", 1.0),
        ("Restart the worker.", "the worker", 0.8),
        ("yes", "no", 0.0),
        ("", "", 1.0),
        ("", "!", 0.0),
        ("", "yes", 0.0),
        ("再起動する", "再起動", 0.75),
        ("Straße", "STRASSE", 1.0),
        ("ﬁne", "fine", 1.0),
    ],
)
def test_the_f1_of_known_pairs(before: str, after: str, f1: float) -> None:
    """2 · shared / (words of both), counted by hand."""
    assert texts.token_f1(before, after) == pytest.approx(f1)


@given(_WORDS, _WORDS)
def test_f1_is_the_harmonic_mean_of_precision_and_recall(
    before: list[str], after: list[str]
) -> None:
    """Against its definition, word by word."""
    left = [word.casefold() for word in before]
    shared = 0
    for word in after:
        if word.casefold() in left:
            left.remove(word.casefold())
            shared += 1
    expected = float(before == after)
    if shared:
        precision, recall = shared / len(after), shared / len(before)
        expected = 2 * precision * recall / (precision + recall)
    assert texts.token_f1(" ".join(before), " ".join(after)) == pytest.approx(expected)


@given(st.text(), st.text())
def test_f1_is_symmetric_between_0_and_1_and_1_for_the_same_text(before: str, after: str) -> None:
    """Whatever the texts contain."""
    f1 = texts.token_f1(before, after)
    assert 0 <= f1 <= 1
    assert f1 == texts.token_f1(after, before)
    assert texts.token_f1(before, before) == 1
    assert texts.same(before, f" {before}\n")
