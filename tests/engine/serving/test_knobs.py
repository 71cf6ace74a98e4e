"""The live knobs hold within their ranges."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from engine.serving.knobs import RANGES, Knobs
from engine.serving.sequences import Class

names = st.sampled_from([*RANGES, "unheard_of"])


@given(st.dictionaries(names, st.integers(-(2**62), 2**62)))
def test_whatever_is_set_the_knobs_stay_within_their_ranges(values: dict[str, int]) -> None:
    """To the nearest allowed value; unknown names are ignored, other knobs unchanged."""
    knobs = Knobs().changed(values)
    for name, value in knobs.values().items():
        least, most = RANGES[name]
        expected = min(max(values.get(name, Knobs().values()[name]), least), most)
        assert value == expected


def test_every_knob_has_a_range_and_its_default_lies_within() -> None:
    """No knob without bounds, no bounds without a knob."""
    assert {field.name for field in dataclasses.fields(Knobs)} == set(RANGES)
    assert Knobs().changed(Knobs().values()) == Knobs()


def test_each_class_has_its_own_weight() -> None:
    """By name."""
    knobs = Knobs(weight_interactive=3, weight_batch=2, weight_background=1)
    assert [knobs.weight(class_) for class_ in Class] == [3, 2, 1]
