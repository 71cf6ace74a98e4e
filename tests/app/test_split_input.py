"""Splits as they are typed, on the command line and on the screen alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import split_input
from app.errors import BadWord
from storage import splits


@pytest.mark.parametrize(
    ("arms", "points"),
    [
        (["r1=90", "r2=10"], {"r1": 9_000, "r2": 1_000}),
        (["r1=99.75", "2=0.25%"], {"r1": 9_975, "r2": 25}),
        (["r1=100", "r2=0"], {"r1": 10_000, "r2": 0}),
        (["r1=99.5", "4f2a9c=0.5"], {"r1": 9_950, "4f2a9c": 50}),
        (["r1=0", "123456=100"], {"r1": 0, "123456": 10_000}),
    ],
)
def test_a_split_is_read(arms: list[str], points: dict[str, int]) -> None:
    """Whole percents or hundredths, releases by number or hash."""
    assert split_input.parse(arms) == points


@pytest.mark.parametrize(
    "figure",
    ["inf", "-inf", "nan", "1e2", "1e999", "9e999999999", "-5", "+5", "101", "50.001", "9_0", "٩٠",
     "", "%", "9" * 5_000, "0x10"],
)  # fmt: skip
def test_what_is_not_a_share_is_refused_in_a_short_sentence(figure: str) -> None:
    """Nothing but finite numbers from 0 to 100, and nothing long comes back."""
    with pytest.raises(BadWord, match="RELEASE=PERCENT") as said:
        split_input.parse([f"r1={figure}"])
    assert len(str(said.value)) < 200


@pytest.mark.parametrize("twice", ["r1=50", "1=50", "r01=50"])
def test_a_release_is_named_once(twice: str) -> None:
    """However it is written."""
    with pytest.raises(BadWord, match="r1 is named twice"):
        split_input.parse(["r1=50", twice])


@given(st.dictionaries(st.integers(1, 999), st.integers(0, 10_000), min_size=1, max_size=6))
def test_a_split_reads_back_as_it_is_typed(split: dict[int, int]) -> None:
    """The form offers the current split, to the hundredth of a percent."""
    typed = splits.typed(split.items()).split()
    if sum(split.values()) == 10_000:
        assert {f"r{release}": points for release, points in split.items()} == split_input.parse(
            typed
        )
    else:
        with pytest.raises(BadWord, match=r"add up|RELEASE=PERCENT"):
            split_input.parse(typed)


@given(st.text(max_size=40))
def test_nothing_that_is_typed_breaks_the_form(typed: str) -> None:
    """It is a split of a hundred percent, or a sentence."""
    try:
        found = split_input.parse(typed.split())
    except BadWord:
        return
    assert sum(found.values()) == 10_000
