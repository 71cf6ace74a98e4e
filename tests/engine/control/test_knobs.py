"""The store's table of knobs, the worker's and the releases' settings are one in three places."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from engine.serving.knobs import RANGES, Knobs
from storage import errors, knobs
from storage.releases import Engine


def test_the_store_and_the_worker_know_the_same_knobs_and_ranges() -> None:
    """What is refused when it is asked is what the worker would refuse, and nothing else."""
    assert dict(knobs.NAMES) == dict(RANGES)
    assert [field.name for field in dataclasses.fields(Knobs)] == list(knobs.NAMES)
    for name, (low, high) in knobs.NAMES.items():
        for value in (low, high):
            knobs.check(name, value)
            assert getattr(Knobs().changed({name: value}), name) == value
        for value in (low - 1, high + 1):
            with pytest.raises(errors.Invalid):
                knobs.check(name, value)
            assert getattr(Knobs().changed({name: value}), name) != value


def test_an_untouched_knob_has_the_value_that_undo_restores() -> None:
    """The store undoes to what the worker began with: its own default or the release's setting."""
    released = {"max_running": Engine().max_sequences, "prefill_budget": Engine().prefill_budget}
    assert {**released, **knobs.DEFAULTS} == Knobs().values()


def test_a_release_s_settings_have_the_range_of_their_knobs() -> None:
    """A worker can be turned to whatever a release may ask for."""
    for field, knob in (("max_sequences", "max_running"), ("prefill_budget", "prefill_budget")):
        low, high = knobs.NAMES[knob]
        for value in (low, high):
            assert getattr(msgspec.convert({field: value}, Engine), field) == value
        for value in (low - 1, high + 1):
            with pytest.raises(msgspec.ValidationError):
                msgspec.convert({field: value}, Engine)
