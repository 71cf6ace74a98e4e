"""Counting units: once each, and the same however the looks divide what was recorded."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from engine.control.ab_tests import count
from storage.ab_test_evidence import Evidence
from storage.ab_test_units import Exposed, Fresh
from storage.ab_tests import AbTest
from storage.requests import Outcome
from tests.engine.control.ab_tests import fakes

TEST = fakes.ab_test((5_000, 3_000, 2_000), ("thumbs_up", "error_rate", "latency"))

events = st.lists(
    st.tuples(
        st.integers(0, 30),  # the unit
        st.sampled_from(list(Outcome)),
        st.integers(1, 10**7),
        st.none() | st.booleans(),  # what it rates then
    ),
    max_size=80,
)


def walk(
    test: AbTest, recorded: list[tuple[int, Outcome, int, bool | None]], cuts: list[int]
) -> tuple[Evidence, dict[str, Exposed]]:
    """Count in looks that end at `cuts`; each look knows what the store kept of its units."""
    evidence, kept = fakes.begun(test), dict[str, Exposed]()
    for first, last in pairwise([0, *sorted(cuts), len(recorded)]):
        part = list(enumerate(recorded))[first:last]
        requests = tuple(
            fakes.seen(at + 1, f"u{unit}", 1 + unit % 3, outcome, took)
            for at, (unit, outcome, took, _) in part
        )
        ratings = tuple(
            fakes.rated(at + 1, f"u{unit}", 1 + unit % 3, up=thumb)
            for at, (unit, _, _, thumb) in part
            if thumb is not None
        )
        fresh = Fresh(requests=requests, ratings=ratings, last_rating=last, known=dict(kept))
        counted = count.fold(test, evidence, fresh)
        evidence = counted.evidence
        kept |= {unit.unit: unit for unit in counted.units}
    return evidence, kept


@given(events, st.lists(st.integers(0, 80), max_size=6))
def test_a_crash_between_looks_changes_no_count(
    recorded: list[tuple[int, Outcome, int, bool | None]], cuts: list[int]
) -> None:
    """Units, requests, guards and rates are those of one look over everything.

    Means may differ in their last digit, and what is rated is counted when it is seen.
    """
    one, kept_at_once = walk(TEST, recorded, [])
    many, kept = walk(TEST, recorded, [min(cut, len(recorded)) for cut in cuts])
    assert kept == kept_at_once
    for a, b in zip(one.arms, many.arms, strict=True):
        assert (a.units, a.requests, a.guards, a.rates) == (b.units, b.requests, b.guards, b.rates)
        assert [each.n for each in a.values] == [each.n for each in b.values]


@given(events)
def test_a_unit_is_counted_once_for_each_goal(
    recorded: list[tuple[int, Outcome, int, bool | None]],
) -> None:
    """By its first executed request and its first rating; failed answers have no latency."""
    evidence, kept = walk(TEST, recorded, [])
    executed: dict[int, tuple[Outcome, int]] = {}
    thumbs: dict[int, bool] = {}
    for unit, outcome, took, thumb in recorded:
        if outcome in {Outcome.OK, Outcome.FAILED}:
            executed.setdefault(unit, (outcome, took))
        if thumb is not None:
            thumbs.setdefault(unit, thumb)
    assert set(kept) == {f"u{unit}" for unit, *_ in recorded}
    for arm in evidence.arms:
        mine = {unit for unit, *_ in recorded if 1 + unit % 3 == arm.release}
        firsts = [executed[unit] for unit in mine if unit in executed]
        assert arm.units == len(mine)
        assert arm.rates[0].n == len(mine & thumbs.keys())
        assert arm.rates[0].events == sum(thumbs[unit] for unit in mine if unit in thumbs)
        assert arm.rates[1].n == len(firsts)
        assert arm.rates[1].events == sum(outcome is Outcome.FAILED for outcome, _ in firsts)
        assert arm.values[2].n == sum(outcome is Outcome.OK for outcome, _ in firsts)


@given(events, st.randoms(use_true_random=False))
def test_where_a_block_ends_does_not_depend_on_what_happened_in_it(
    recorded: list[tuple[int, Outcome, int, bool | None]], noise: random.Random
) -> None:
    """Otherwise the sequential test would not be one: only the number of units counts."""
    shuffled = [
        (unit, outcome, took, None if thumb is None else noise.random() < 0.5)
        for unit, outcome, took, thumb in recorded
    ]  # fmt: skip
    marks, others = walk(TEST, recorded, [])[0].marks[0], walk(TEST, shuffled, [])[0].marks[0]
    assert [[each.n for each in mark] for mark in marks] == [
        [each.n for each in mark] for mark in others
    ]
