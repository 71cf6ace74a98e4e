"""What workers have to do: added up where there are several, unknown where none is heard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.figures import load
from tests.app import populated_homes, store_facts


def rows(last: int = populated_homes.NOW, **changes: int) -> dict[int, object]:
    """A minute of a worker up to a second."""
    return {
        at: populated_homes.worker(at, **changes)
        for at in range(last - 60, last + 1, populated_homes.STEP_S)
    }


def test_workers_together_are_the_sum_of_each() -> None:
    """Two workers run twice as much; their cache is as full as that of one."""
    one = load.together(store_facts.facts(instances={"a": rows(waiting=2)}))
    two = load.together(store_facts.facts(instances={"a": rows(waiting=2), "b": rows(waiting=2)}))
    assert one is not None
    assert two is not None
    assert (2 * one.running, 2 * one.waiting) == (two.running, two.waiting)
    assert (one.kv, one.busy, one.oldest_us) == (two.kv, two.busy, two.oldest_us)
    assert one.tokens_per_s is not None
    assert two.tokens_per_s == 2 * one.tokens_per_s


def test_a_worker_that_is_not_heard_has_no_load() -> None:
    """Eight seconds of silence, or a dead node: dashes, not the last figures for ever."""
    silent = rows(populated_homes.NOW - 8)
    facts = store_facts.facts(instances={"a": silent, "b": rows()})
    assert set(load.loads(facts)) == {"b"}
    assert load.together(store_facts.facts(store_facts.DOWN, instances={"a": rows()})) is None
    assert load.together(store_facts.facts()) is None


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6))))
def test_a_mean_is_of_what_was_measured(values: list[float | None]) -> None:
    """Nothing measured has no mean; else it lies between the least and the most."""
    known = [value for value in values if value is not None]
    mean = load.mean(values)
    assert (mean is None) == (not known)
    if mean is not None:
        assert min(known) - 1e-6 <= mean <= max(known) + 1e-6
