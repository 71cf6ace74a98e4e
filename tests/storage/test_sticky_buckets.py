"""A change of weights moves as few users as it can."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from engine.traffic import routing
from storage import sticky_buckets
from storage.sticky_buckets import Range


@st.composite
def weights(draw: st.DrawFn) -> dict[int, int]:
    """Up to six releases whose weights add up to 10000, some of them 0."""
    cuts = sorted(draw(st.lists(st.integers(0, 10_000), max_size=5)))
    edges = [0, *cuts, 10_000]
    sizes = [end - start for start, end in pairwise(edges)]
    releases = draw(st.permutations(range(1, 7)))
    return dict(zip(releases, sizes, strict=False))


def owners(ranges: tuple[Range, ...]) -> list[int]:
    """The release of every bucket."""
    return [release for start, end, release in ranges for _ in range(start, end)]


@given(st.lists(weights(), min_size=1, max_size=6))
def test_a_change_moves_the_total_variation_distance_and_no_other_tenant(
    history: list[dict[int, int]],
) -> None:
    """However many arms there are and wherever they lie, over a whole history of changes."""
    ranges = sticky_buckets.lay_out(history[0])
    for before, after in pairwise(history):
        moved = sticky_buckets.rebalance(ranges, after)
        assert sticky_buckets.whole(moved)
        counts = {release: owners(moved).count(release) for release in after}
        assert counts == after
        distance = sum(max(after.get(r, 0) - before.get(r, 0), 0) for r in {*before, *after})
        pairs = zip(owners(ranges), owners(moved), strict=True)
        assert sum(was != now for was, now in pairs) == distance
        ranges = moved


def test_weight_passes_over_an_arm_without_moving_its_users() -> None:
    """From the first arm to the third: the second keeps everybody."""
    before = sticky_buckets.lay_out({1: 6_000, 2: 2_000, 3: 2_000})
    after = sticky_buckets.rebalance(before, {1: 3_000, 2: 2_000, 3: 5_000})
    assert after == ((0, 3_000, 1), (3_000, 6_000, 3), (6_000, 8_000, 2), (8_000, 10_000, 3))
    for unit in map(str, range(2_000)):
        if routing.assign(before, "s", unit).release == 2:
            assert routing.assign(after, "s", unit).release == 2


@given(weights())
def test_the_same_weights_again_change_nothing(chosen: dict[int, int]) -> None:
    """Setting a split twice is setting it once."""
    ranges = sticky_buckets.lay_out(chosen)
    assert sticky_buckets.rebalance(ranges, chosen) == ranges
