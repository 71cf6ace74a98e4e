"""Which request gets which release: the promises behind splits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.traffic import routing
from storage import sticky_buckets

UNITS = [f"user-{number}" for number in range(4000)]


def laid(arms: Iterable[tuple[int, int]]) -> tuple[sticky_buckets.Range, ...]:
    """The buckets of a first split with these weights."""
    return sticky_buckets.lay_out(dict(arms))


@st.composite
def splits(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Arms whose weights sum to 10000, some of them zero."""
    cuts = sorted(draw(st.lists(st.integers(0, 10_000), max_size=4)))
    edges = [0, *cuts, 10_000]
    return [(number, b - a) for number, (a, b) in enumerate(pairwise(edges), 1)]


@settings(max_examples=40, deadline=None)
@given(splits(), st.text(max_size=8))
def test_shares_converge_to_the_weights(arms: list[tuple[int, int]], salt: str) -> None:
    """Over many units every arm's share is its weight, within five standard errors."""
    got: dict[int, int] = {}
    for unit in UNITS[:1000]:
        release = routing.assign(laid(arms), salt, unit).release
        got[release] = got.get(release, 0) + 1
    for release, weight in arms:
        share = weight / 10_000
        allowed = 5 * (share * (1 - share) / 1000) ** 0.5
        assert abs(got.get(release, 0) / 1000 - share) <= allowed + 0.002


@given(splits(), st.text(), st.text())
def test_the_same_unit_always_gets_the_same_arm(
    arms: list[tuple[int, int]], salt: str, unit: str
) -> None:
    """Sticky: nothing but salt, weights and unit decides."""
    assert routing.assign(laid(arms), salt, unit) == routing.assign(laid(list(arms)), salt, unit)


@given(splits(), st.text(), st.text())
def test_an_arm_without_weight_never_gets_traffic(
    arms: list[tuple[int, int]], salt: str, unit: str
) -> None:
    """Weight 0 means none, not little."""
    chosen = routing.assign(laid(arms), salt, unit).release
    assert dict(arms)[chosen] > 0


@given(st.text(), st.integers(0, 10_000), st.integers(0, 10_000))
def test_growing_a_weight_moves_units_only_to_that_arm(unit: str, a: int, b: int) -> None:
    """From 5 % to 50 % every user of the candidate keeps the candidate."""
    small, large = sorted((a, b))
    first = laid([(2, small), (1, 10_000 - small)])
    grown = sticky_buckets.rebalance(first, {2: large, 1: 10_000 - large})
    before = routing.assign(first, "s", unit).release
    after = routing.assign(grown, "s", unit).release
    if before == 2:
        assert after == 2


@given(splits(), st.randoms(use_true_random=False), st.text(), st.text())
def test_the_order_in_which_arms_are_told_decides_nothing(
    arms: list[tuple[int, int]], random: Random, salt: str, unit: str
) -> None:
    """`r1=90 r2=10` and `r2=10 r1=90` are one split."""
    other = random.sample(arms, len(arms))
    assert routing.assign(laid(other), salt, unit) == routing.assign(laid(arms), salt, unit)


@settings(max_examples=40, deadline=None)
@given(splits(), st.data())
def test_weight_that_moves_takes_as_many_users_along(
    arms: list[tuple[int, int]], data: st.DataObject
) -> None:
    """From an arm to its neighbour that share of the users moves, and no more, in any order."""
    if len(arms) == 1:
        arms = [*arms, (2, 0)]
    left = data.draw(st.integers(0, len(arms) - 2))
    giving, taking = data.draw(st.permutations([left, left + 1]))
    share = data.draw(st.integers(0, arms[giving][1]))
    changed = dict(arms)
    changed[arms[giving][0]] -= share
    changed[arms[taking][0]] += share
    told = dict(data.draw(st.permutations(list(changed.items()))))
    ranges = sticky_buckets.rebalance(laid(arms), told)
    moved = sum(
        routing.assign(laid(arms), "s", unit).release != routing.assign(ranges, "s", unit).release
        for unit in UNITS[:1000]
    )
    allowed = 5 * (share / 10_000 * (1 - share / 10_000) / 1000) ** 0.5
    assert moved / 1000 <= share / 10_000 + allowed + 0.002


def test_another_salt_reshuffles() -> None:
    """A new test does not inherit the groups of the old one."""
    arms = laid([(1, 5000), (2, 5000)])
    same = sum(
        routing.assign(arms, "first", unit).release == routing.assign(arms, "second", unit).release
        for unit in UNITS
    )
    assert 0.45 < same / len(UNITS) < 0.55


def test_salt_and_unit_do_not_run_together() -> None:
    """The pairs (ab, c) and (a, bc) are two different ones."""
    assert routing.bucket("ab", "c") != routing.bucket("a", "bc")


def test_every_process_agrees() -> None:
    """Python's own hash() would not: it is salted per process."""
    program = "from engine.traffic import routing; print(routing.bucket('salt', 'sara'))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    assert int(said) == routing.bucket("salt", "sara")


def test_of_a_hundred_thousand_users_a_tenth_is_a_tenth_in_every_process() -> None:
    """90/10 within 0.3 %, and the same users in a process whose `hash()` has another seed."""
    program = (
        "from engine.traffic import routing\n"
        "ranges = ((0, 9_000, 1), (9_000, 10_000, 2))\n"
        "said = [routing.assign(ranges, 'salt', f'u{n}').release for n in range(100_000)]\n"
        "print(said.count(2), hashlib.sha256(bytes(said)).hexdigest())\n"
    )
    said = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", f"import hashlib\n{program}"],
            capture_output=True, check=True, env=os.environ | {"PYTHONHASHSEED": seed},
        )  # fmt: skip
        said.add(done.stdout)
    (once,) = said
    assert abs(int(once.split()[0]) / 100_000 - 0.1) <= 0.003


def test_a_split_without_weight_is_an_error() -> None:
    """No user is sent to an arm that was switched off."""
    with pytest.raises(routing.NoArm):
        routing.assign(laid([(1, 0)]), "salt", "unit")
