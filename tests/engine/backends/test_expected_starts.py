"""What a refused client is told while no instance is there."""

from __future__ import annotations

from typing import Any

import pytest

from engine.backends import expected_starts
from engine.backends.expected_starts import LEAST_US, MOST_US, ExpectedStarts
from storage.processes import Kind, Process, State

SECOND_US = 1_000_000
NOW = 1_000 * SECOND_US


def process(state: State, **fields: Any) -> Process:
    """An instance."""
    known: dict[str, Any] = {
        "name": "ops:1", "kind": Kind.WORKER, "deployment": "ops", "pid": None, "reason": None,
        "started_at_us": NOW, "restarts": 1, "model_version_id": 1, "sha256": None, "build": None,
    }  # fmt: skip
    return Process(**{**known, "state": state, **fields})


@pytest.mark.parametrize(
    ("one", "took_s", "wait_s"),
    [
        (process(State.STARTING, started_at_us=NOW - 3 * SECOND_US), 10, 7),
        (process(State.STARTING, started_at_us=NOW - 30 * SECOND_US), 10, 30),
        (process(State.STARTING, started_at_us=NOW + 30 * SECOND_US), 10, 10),
        (process(State.CRASHED, starts_at_us=NOW + 8 * SECOND_US), 10, 18),
        (process(State.CRASHED, starts_at_us=NOW - 8 * SECOND_US), 10, 10),
        (process(State.CRASHED), 10, MOST_US // SECOND_US),
        (process(State.READY), 10, 0),
        (process(State.STARTING), None, 5),
    ],
)
def test_the_wait_is_the_back_off_and_the_time_that_the_last_start_took(
    one: Process, took_s: int | None, wait_s: int
) -> None:
    """A start that takes longer than the last one is expected to take as long again."""
    took_us = None if took_s is None else took_s * SECOND_US
    assert expected_starts.wait_us([(one, took_us)], NOW) == wait_s * SECOND_US


def test_the_first_instance_that_is_back_counts() -> None:
    """Two instances, one of which is in a crash loop."""
    looping = process(State.CRASHED, starts_at_us=NOW + 30 * SECOND_US)
    starting = process(State.STARTING)
    instances: list[tuple[Process, int | None]] = [(looping, 4_000_000), (starting, 4_000_000)]
    assert expected_starts.wait_us(instances, NOW) == 4 * SECOND_US


def test_clients_are_told_the_time_that_is_left_and_do_not_all_return_at_once() -> None:
    """Never under a second, and never over the minute that OpenAI's clients accept."""
    now = 0
    starts = ExpectedStarts(lambda: now)
    assert {starts.retry_us("ops") // LEAST_US for _ in range(40)} == {1}
    starts.expect({"ops": 20 * SECOND_US, "stuck": 3600 * SECOND_US})
    now = 8 * SECOND_US
    told = [starts.retry_us("ops") for _ in range(40)]
    assert (min(told), max(told) <= 15 * SECOND_US, len(set(told))) == (12 * SECOND_US, True, 16)
    assert max(starts.retry_us("stuck") for _ in range(40)) <= 60 * SECOND_US
    starts.expect({})
    assert starts.retry_us("ops") < 2 * SECOND_US
