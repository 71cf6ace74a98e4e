"""Since a change: what is found of it, and what a drift before it explains."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import pytest

from engine.judging import drift, errors, shift, verdict
from engine.judging.drift import Stretch

SEED: Final = 20261127
ROUNDS: Final = 120
BLOCKS: Final = 60
ALPHA: Final = 0.05


def since(
    random: np.random.Generator, *, jump: float = 0.0, slope: float = 0.0, blocks: int = BLOCKS
) -> drift.Since:
    """Medians around 100 with a spread of 20: before, and since a change that adds `jump`.

    `slope` is what is added from each block to the next, all the time.
    """
    parts = []
    for at in range(3):
        places = np.arange(at * blocks, (at + 1) * blocks)
        values = 100 + slope * places + random.normal(0, 20, blocks) + (jump if at == 2 else 0)
        parts.append(Stretch(float(places.mean()), values.tolist()))
    return drift.compare(*parts, least=25.0, alpha=ALPHA)


def worse(*, jump: float = 0.0, slope: float = 0.0) -> float:
    """How often a change is found to be worse."""
    random = np.random.default_rng(SEED)
    return sum(since(random, jump=jump, slope=slope).worse for _ in range(ROUNDS)) / ROUNDS


def test_a_jump_beyond_the_least_effect_is_found() -> None:
    """Twice the least effect nearly always, without any drift."""
    assert worse(jump=60) > 0.95


def test_no_change_and_a_change_at_the_least_effect_are_not_called_worse() -> None:
    """At most as often as the level allows."""
    assert worse() == 0.0
    assert worse(jump=25) <= ALPHA


@pytest.mark.parametrize("slope", [0.5, 1.0, 3.0])
def test_a_drift_that_goes_on_as_before_is_not_called_worse(slope: float) -> None:
    """Though since is far above before: by 30, 60 and 180, where 25 matters."""
    assert worse(slope=slope) <= ALPHA


def test_a_jump_is_found_beside_a_drift() -> None:
    """What the drift does not explain counts."""
    assert worse(slope=0.2, jump=100) > 0.95


def test_a_drift_that_had_ended_is_not_held_against_a_change_for_the_better() -> None:
    """A fall before is not drawn out: it would make any change look worse."""
    random = np.random.default_rng(SEED)
    found = since(random, slope=-0.5)
    assert (found.worse, found.drift) == (False, 0.0)


def test_too_few_values_conclude_nothing() -> None:
    """Neither of the change nor of the drift."""
    found = since(np.random.default_rng(SEED), jump=500, blocks=shift.LEAST - 1)
    assert (found.worse, math.isinf(found.drift)) == (False, True)


def test_stretches_that_overlap_are_refused() -> None:
    """The drift is drawn out over time, which has to pass."""
    same = Stretch(1.0, [1.0] * 20)
    with pytest.raises(errors.CannotJudge, match="overlap"):
        drift.compare(same, same, same, least=1.0)


def test_the_verdict_says_what_the_drift_explains() -> None:
    """Fail with the shift and its interval; without a change a pass, or undecided."""
    random = np.random.default_rng(SEED)
    said = verdict.since("stable", since(random, jump=90), "ms")
    assert said.outcome is verdict.Outcome.FAIL
    assert said.sentence.endswith(": worse")
    assert ", a drift before explains " in said.sentence
    assert verdict.since("stable", since(random), "ms").outcome is verdict.Outcome.PASS
    undecided = verdict.since("stable", since(random, blocks=10), "ms")
    assert undecided.outcome is verdict.Outcome.UNDECIDED
    assert "explains" not in undecided.sentence
