"""Rows fit, colours never carry meaning alone, and ASCII keeps every cell in its place."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import words
from app.widgets import palette
from app.widgets.palette import Line

SAFE = st.text(alphabet=st.sampled_from("ab cd—…·漢字é 01"), max_size=20)
LINE = st.lists(st.tuples(SAFE, st.sampled_from(("", "dim"))), max_size=6).map(tuple)
WIDTH = st.integers(min_value=0, max_value=100)


@given(LINE, WIDTH)
def test_a_cut_row_fits(line: Line, width: int) -> None:
    """At most its width; and where something is missing an ellipsis says so."""
    short = palette.cut(line, width)
    assert palette.length(short) <= width
    assert short == line or not width or palette.text(short).endswith("…")


@given(LINE, LINE, st.integers(min_value=1, max_value=100))
def test_two_halves_fill_the_row_and_the_right_one_stays(
    left: Line, right: Line, width: int
) -> None:
    """The right half is whole as long as it fits at all."""
    row = palette.spread(left, right, width)
    assert palette.length(row) <= width
    if palette.length(right) < width:
        assert palette.text(row).endswith(palette.text(right))
        assert width - 1 <= palette.length(row)


@given(SAFE, SAFE, st.integers(min_value=30, max_value=200))
def test_a_rule_is_as_wide_as_the_screen(title: str, right: str, width: int) -> None:
    """With a title, something at its end, both or none."""
    assert width - 1 <= palette.length(palette.rule(width, title, right)) <= width


@settings(max_examples=25)
@given(st.lists(LINE.filter(lambda line: 0 < palette.length(line) <= 20), max_size=9))
def test_flowing_parts_are_never_torn(parts: list[Line]) -> None:
    """Every part is whole in one of the rows."""
    rows = palette.flow(parts, 21)
    assert all(palette.length(row) <= 21 for row in rows)
    assert "".join(palette.text(part) for part in parts).replace(" ", "") == "".join(
        palette.text(row) for row in rows
    ).replace(" ", "")


@pytest.mark.parametrize("sign", "─│·…—–→▸▲△●○°×µ█▏↻›“”▕")
def test_every_sign_has_one_cell_in_ascii(sign: str) -> None:
    """Where only ASCII can be shown, columns stay where they are."""
    assert len(palette.plain(sign)) == 1 == words.width(sign)
    assert palette.plain(sign).isascii()
    assert palette.plain(sign) != "?"


@pytest.mark.parametrize("name", sorted(palette._INKS))
def test_without_colours_an_ink_has_none(name: str) -> None:
    """NO_COLOR keeps weight, underline and reversal."""
    style = palette.style(name, colour=False)
    assert style.color is None
    assert style.bgcolor is None


def test_what_warns_can_be_told_apart_without_colours() -> None:
    """The line of a screen that may change things does not look like one that may not."""
    assert palette.style("ro-bold", colour=False) != palette.style("rw-bold", colour=False)
    assert palette.style("cursor", colour=False).reverse
    assert palette.style("dim+cursor", colour=False).dim
