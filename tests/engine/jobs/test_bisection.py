"""The release that changed an answer is found by as few questions as it takes."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from engine.jobs import bisection
from engine.jobs.bisection import Ask, Found, Unchanged


def walk(releases: list[int], answers: dict[int, bool]) -> tuple[Found | Unchanged, int]:
    """Ask until it is decided; the decision, and how many were asked."""
    known: dict[int, bool] = {}
    while isinstance(step := bisection.decide(releases, known), Ask):
        assert step.release not in known
        known[step.release] = answers[step.release]
    return step, len(known)


@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=300, unique=True), st.data())
def test_one_change_is_found_in_log_n_questions(releases: list[int], data: st.DataObject) -> None:
    """Whatever the order of the numbers: the order is that of the service's history."""
    first_bad = data.draw(st.integers(1, len(releases) - 1))
    answers = {number: place < first_bad for place, number in enumerate(releases)}
    found, asked = walk(releases, answers)
    assert found == Found(releases[first_bad - 1], releases[first_bad])
    assert asked <= 2 + math.ceil(math.log2(len(releases)))


@given(st.lists(st.booleans(), min_size=2, max_size=60))
def test_what_is_found_is_a_change(answers: list[bool]) -> None:
    """Also where the answer changed back and forth."""
    releases = list(range(len(answers)))
    found, _ = walk(releases, dict(enumerate(answers)))
    if isinstance(found, Found):
        assert found.culprit == found.good + 1
        assert (answers[found.good], answers[found.culprit]) == (True, False)
    else:
        assert found.good is answers[0]
        assert answers[0] is False or answers[-1] is True
