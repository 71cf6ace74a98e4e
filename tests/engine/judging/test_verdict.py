"""What a person reads: every verdict with its number, its effect and what is still needed."""

from __future__ import annotations

import numpy as np
import pytest

from engine.judging import (
    confidence_sequence,
    regression,
    sample_ratio,
    shift,
    two_rates,
    verdict,
)
from engine.judging.confidence_sequence import Moments
from engine.judging.two_rates import Block
from engine.judging.verdict import Outcome


@pytest.mark.parametrize(
    ("n", "events", "outcome", "sentence"),
    [
        (
            0,
            0,
            Outcome.UNDECIDED,
            "errors: 0 of 0 requests, 1 % allowed; passes after 299 more without one",
        ),
        (
            90,
            7,
            Outcome.FAIL,
            "errors: 7 of 90 requests (7.8 %, between 1.7 % and 20 %), above the 1 % allowed",
        ),
        (
            400,
            0,
            Outcome.PASS,
            "errors: 0 of 400 requests (0 %, between 0 % and 1.6 %), below the 1 % allowed",
        ),
    ],
)
def test_a_rate_is_told_with_its_interval_and_the_allowed_one(
    n: int, events: int, outcome: Outcome, sentence: str
) -> None:
    """Undecided with what it takes, failed, passed."""
    seen = verdict.rate("errors", n, events, 0.01)
    assert seen.sentence == sentence
    assert seen.outcome is outcome
    assert (seen.needed == 0) == (outcome is not Outcome.UNDECIDED)


def test_silence_never_passes() -> None:
    """Without data no verdict of any kind is a pass."""
    outcomes = [
        verdict.rate("errors", 0, 0, 0.01).outcome,
        verdict.against_stable("errors", two_rates.compare([])).outcome,
        verdict.averaged("cost", confidence_sequence.difference(Moments(), Moments()), "$").outcome,
        verdict.split("split", sample_ratio.check({}, {"a": 1, "b": 1})).outcome,
        verdict.shifted("latency", shift.compare([1.0], [1.0]), "s").outcome,
        verdict.regressed("accuracy", regression.binary([True], [True])).outcome,
    ]
    assert outcomes == [Outcome.UNDECIDED] * 6


def test_a_higher_rate_than_stables_fails_and_an_equal_one_is_undecided() -> None:
    """More failures on the candidate; the same on both never ends well or badly by itself."""
    worse = verdict.against_stable("errors", two_rates.compare([Block(50, 10, 950, 9)] * 3))
    assert worse.outcome is Outcome.FAIL
    assert worse.sentence.startswith(
        "errors: 30 of 150 requests on the candidate, 27 of 2850 on stable"
    )
    liked = two_rates.compare([Block(50, 25, 50, 5)] * 3, side=two_rates.Side.EITHER)
    assert verdict.against_stable("liked", liked, less_is_better=False).outcome is Outcome.PASS
    assert verdict.against_stable("disliked", liked).outcome is Outcome.FAIL
    equal = verdict.against_stable("errors", two_rates.compare([Block(50, 1, 50, 1)] * 3))
    assert equal.outcome is Outcome.UNDECIDED
    assert equal.needed is None


@pytest.mark.parametrize(
    ("moved", "less_is_better", "outcome"),
    [
        (0.5, True, Outcome.FAIL),
        (0.5, False, Outcome.PASS),
        (-0.5, True, Outcome.PASS),
        (0.0, True, Outcome.PASS),
        (0.2, True, Outcome.UNDECIDED),
    ],
)
def test_a_shift_fails_on_the_bad_side_alone(
    moved: float, less_is_better: bool, outcome: Outcome
) -> None:
    """Slower fails, faster and equal pass, near the least effect is undecided."""
    rng = np.random.default_rng(1)
    found = shift.compare(rng.normal(moved, 1, 2000), rng.normal(0, 1, 2000), least=0.2)
    seen = verdict.shifted("latency", found, "s", less_is_better=less_is_better)
    assert seen.outcome is outcome
    assert seen.sentence.startswith(f"latency: {found.shift:+.3g} s against stable (between ")


def test_a_mean_is_told_with_what_is_still_needed() -> None:
    """A tenth of a standard deviation after 500 values each: undecided, with a number."""
    candidate, stable = Moments(500, 10.1, 499.0), Moments(500, 10.0, 499.0)
    needed = confidence_sequence.needed_for(0.1, candidate, stable)
    found = confidence_sequence.difference(candidate, stable)
    seen = verdict.averaged("tokens", found, "tokens", needed=needed)
    assert seen.outcome is Outcome.UNDECIDED
    assert seen.needed == needed
    assert seen.sentence.endswith(f"undecided; {needed} more values would do at best")
    clear = confidence_sequence.difference(Moments(500, 12, 499), stable)
    assert verdict.averaged("tokens", clear, "tokens").outcome is Outcome.FAIL
    assert verdict.averaged("tokens", clear, "tokens", less_is_better=False).outcome is Outcome.PASS


def test_a_broken_split_names_the_arm() -> None:
    """The arm that is furthest from its weight, with both numbers."""
    found = sample_ratio.check({"stable": 9500, "candidate": 300}, {"stable": 95, "candidate": 5})
    seen = verdict.split("split", found)
    assert seen.outcome is Outcome.FAIL
    assert "has 9500 of 9800 units, 9310 expected" in seen.sentence or (
        "has 300 of 9800 units, 490 expected" in seen.sentence
    )
    healthy = sample_ratio.check({"stable": 950, "candidate": 50}, {"stable": 95, "candidate": 5})
    assert verdict.split("split", healthy).outcome is Outcome.PASS


def test_a_run_against_its_baseline_is_told_in_its_own_words() -> None:
    """The four verdicts of a regression; an underpowered one says what it could have found."""
    lost = [False] * 12 + [True] * 48
    seen = verdict.regressed("accuracy", regression.binary([True] * 60, lost))
    assert seen.outcome is Outcome.FAIL
    assert seen.sentence.startswith("accuracy: 20 % worse (between ")
    assert seen.sentence.endswith("60 items): regressed")
    few = verdict.regressed("accuracy", regression.binary([True] * 30, [True] * 30))
    assert few.outcome is Outcome.UNDECIDED
    assert "underpowered (smallest detectable: " in few.sentence
