"""Rows write the cells that changed, all of them, and nothing that a terminal obeys."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from app.widgets import lines, palette
from app.widgets.palette import Line

TEXT = st.text(
    alphabet=st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from("ab ab 0123456789·│漢👩‍🚀e\u0301"),
        st.sampled_from("\x1b\x07\x9b\u202e\u200b\n\t"),
    ),
    max_size=30,
)
LINE = st.lists(st.tuples(TEXT, st.sampled_from(("", "bold", "bad"))), max_size=5).map(tuple)


@given(LINE, LINE, st.integers(min_value=1, max_value=60))
def test_writing_the_changes_gives_the_new_row(old: Line, new: Line, width: int) -> None:
    """After the changed spans are written, the row is as if all of it had been."""
    before, after = lines.cleaned(old), lines.cleaned(new)
    shown = lines.cells(before, width)
    wanted = lines.cells(after, width)
    for begin, end in lines.changes(before, after, width):
        shown[begin:end] = wanted[begin:end]
    assert wanted == shown


@given(LINE, st.integers(min_value=1, max_value=60))
def test_an_unchanged_row_is_not_written(line: Line, width: int) -> None:
    """What has not changed costs nothing."""
    row = lines.cleaned(line)
    assert list(lines.changes(row, row, width)) == []


def test_a_cut_row_is_compared_as_it_was_drawn() -> None:
    """The ellipsis of a row that was too long goes when a shorter row comes."""
    long: Line = (("0123456789   ", ""),)
    short: Line = (("0123456789", ""),)
    assert list(lines.changes(long, short, 11)) == [(10, 11)]


@given(LINE)
def test_nothing_that_a_terminal_obeys_is_left(line: Line) -> None:
    """Every control, escape and mark of direction is made visible in every row."""
    forbidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert set() == {unicodedata.category(c) for c in palette.text(lines.cleaned(line))} & forbidden


@given(LINE, st.integers(min_value=1, max_value=60))
def test_a_row_has_as_many_cells_as_the_widget(line: Line, width: int) -> None:
    """Rows are cut or filled, never torn."""
    assert width == len(lines.cells(lines.cleaned(line), width))


def test_far_changes_are_written_apart() -> None:
    """Two figures at the ends of a row cost two short spans, not the row between."""
    old: Line = ((f"{'1':<70}1", ""),)
    new: Line = ((f"{'2':<70}2", ""),)
    assert list(lines.changes(old, new, 80)) == [(0, 1), (70, 71)]
