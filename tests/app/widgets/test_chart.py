"""Charts have ranges that stay, distinguish nothing from zero, and change only at their end."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.snapshot import Series
from app.widgets import chart, palette
from app.widgets.chart import Glyphs

VALUES = st.lists(st.one_of(st.none(), st.floats(0, 1e6)), min_size=1, max_size=120)
GLYPHS = st.sampled_from(chart.GLYPHS)


def series(*values: float | None, top: float = 10.0, end: int = 1_000) -> Series:
    """A quantity of these seconds."""
    return Series(
        title="tokens", top=top, label=f"{top:.0f}", last="4 tok/s", end=end, values=values
    )


@given(VALUES, st.integers(1, 60), st.integers(1, 12), GLYPHS)
def test_a_drawing_has_exactly_its_size(
    values: list[float | None], width: int, height: int, glyphs: Glyphs
) -> None:
    """Every row is as wide as the place, whatever was measured."""
    rows = chart.plot(series(*values), width, height, glyphs)
    assert [width] * height == [len(row) for row in rows]


@given(VALUES, st.integers(20, 100), st.integers(1, 12), GLYPHS)
def test_a_chart_fits_its_place(
    values: list[float | None], width: int, height: int, glyphs: Glyphs
) -> None:
    """Caption, axis and drawing together take the rows and cells there are."""
    rows = chart.draw(series(*values), width, height, glyphs)
    assert len(rows) == height
    assert all(palette.length(row) <= width for row in rows)


@given(VALUES, st.integers(1, 200), st.integers(0, 10_000))
def test_buckets_are_means_of_what_was_measured(
    values: list[float | None], count: int, end: int
) -> None:
    """No bucket is above the highest or below the lowest value, none is made up."""
    found = [each for each in chart.buckets(series(*values, end=end), count) if each is not None]
    known = [each for each in values if each is not None]
    assert bool(known) >= bool(found)
    for each in found:
        assert min(known) * (1 - 1e-9) <= each <= max(known) * (1 + 1e-9)


@pytest.mark.parametrize("glyphs", chart.GLYPHS)
def test_a_measured_zero_is_drawn_and_an_unmeasured_second_is_not(glyphs: Glyphs) -> None:
    """A quiet box and one without measurements look different."""
    assert chart.plot(series(0.0), 1, 1, glyphs) != [" "]
    assert chart.plot(series(None), 1, 1, glyphs) == [" "]


def test_what_is_above_the_range_fills_it() -> None:
    """A value above the top is drawn to the top."""
    assert chart.plot(series(99.0, top=10.0), 1, 2, "block") == ["█", "█"]


def test_until_a_bucket_is_full_only_the_last_one_changes() -> None:
    """A second later only the end of the drawing has changed: that is what it costs."""
    values = [float(at % 7) for at in range(120)]
    before = chart.buckets(series(*values, end=1_199), 60)
    after = chart.buckets(series(*values[1:], 3.0, end=1_200), 60)
    later = chart.buckets(series(*values[2:], 3.0, 4.0, end=1_201), 60)
    assert before[2:] == after[1:-1]
    assert after[1:-1] == later[1:-1]


def test_a_chart_says_what_it_shows() -> None:
    """Title, span, range and the last value are words, not only ink."""
    rows = [palette.text(row) for row in chart.draw(series(1.0, 5.0), 40, 4, "ascii")]
    assert rows[0] == "─ tokens, 15 min ───────── now 4 tok/s ─"
    assert rows[1].startswith("   10│")
    assert rows[3].startswith("    0│")


def _named(encoding: str, *, do_setlocale: bool) -> str:
    assert not do_setlocale
    return encoding


def test_a_chart_is_drawn_with_what_the_terminal_can_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag counts, then the environment, then what the locale promises."""
    monkeypatch.setenv("PADDOCK_CHART", "block")
    assert chart.glyphs("ascii") == "ascii"
    assert chart.glyphs(None) == "block"
    monkeypatch.delenv("PADDOCK_CHART")
    for encoding, glyphs in (("UTF-8", "braille"), ("ANSI_X3.4-1968", "ascii")):
        monkeypatch.setattr("locale.getpreferredencoding", partial(_named, encoding))
        assert chart.glyphs(None) == glyphs
