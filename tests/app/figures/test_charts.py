"""Ranges of charts are round, stay where they are, and hold what they show."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from app import recent_samples
from app.figures import charts
from app.figures.facts import LEAST_TOP
from tests.app import populated_homes, store_facts

PEAK = st.floats(min_value=0, max_value=1e7)


@given(PEAK, st.one_of(st.just(0.0), PEAK.map(charts.ceiling)))
def test_a_ceiling_is_round_and_above_the_peak(peak: float, before: float) -> None:
    """10, 20, 50, 100…: a range that is easy to read."""
    top = charts.ceiling(peak, before)
    assert top >= peak
    assert top >= LEAST_TOP
    assert f"{top:.0f}".rstrip("0") in {"1", "2", "5"}


@given(PEAK, PEAK)
def test_a_ceiling_moves_up_at_once_and_down_seldom(peak: float, earlier: float) -> None:
    """A quieter minute does not change the range; only one that is far too high shrinks."""
    before = charts.ceiling(earlier)
    top = charts.ceiling(peak, before)
    if top < before:
        assert before > 4 * peak
    assert charts.ceiling(peak, top) == top


def test_no_second_is_made_up() -> None:
    """A chart of a box that was never measured is empty, and its last value a dash."""
    facts = store_facts.facts()
    shown = charts.charts(facts)
    assert [each.title for each in shown] == ["tokens generated a second", "worker busy"]
    for each in shown:
        assert set(each.values) == {None}
        assert "–" in each.last
        assert len(each.values) == recent_samples.SPAN_S


def test_the_gpu_comes_first_where_there_is_one() -> None:
    """Its utilisation, with the mean of the last ten seconds printed."""
    rows = {
        at: populated_homes.gpu(0)
        for at in range(populated_homes.NOW - 20, populated_homes.NOW + 1)
    }
    shown = charts.charts(store_facts.facts(gpus={0: rows}))
    assert shown[0].title == "GPU utilisation"
    assert shown[0].last == "96 %"
    assert shown[0].top == 1.0


def test_a_gpu_that_does_not_report_its_use_has_no_chart() -> None:
    """A flat line at the bottom would say that it idles; beside another it is left out."""
    dark = msgspec.structs.replace(populated_homes.gpu(0), utilisation_percent=None)
    alone = dict.fromkeys(range(populated_homes.NOW - 20, populated_homes.NOW + 1), dark)
    assert len(charts.charts(store_facts.facts(gpus={0: alone}))) == 2
    known = dict.fromkeys(alone, populated_homes.gpu(0))
    assert charts.charts(store_facts.facts(gpus={0: alone, 1: known}))[0].last == "96 %"


def test_with_the_node_down_the_past_is_drawn_and_now_is_a_dash() -> None:
    """What it did stays in sight; what it does is unknown."""
    rows = {
        at: populated_homes.worker(at)
        for at in range(populated_homes.NOW - 60, populated_homes.NOW + 1)
    }
    shown = charts.charts(store_facts.facts(store_facts.DOWN, instances={"ops-1.0.0": rows}))
    assert shown[0].last == "– tok/s"
    assert any(shown[0].values)
