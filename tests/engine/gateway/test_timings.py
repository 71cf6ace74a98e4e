"""What an answer took, from its events."""

from __future__ import annotations

from engine.execution.answers import Answer
from engine.execution.job import Delta, Finished
from engine.gateway import timings
from tests.engine.execution import jobs

ARRIVED_US = 1_000_000


def answered(*events: Delta | Finished) -> Answer:
    """An answer to a prompt that has these events."""
    answer = Answer(jobs.job("a"), [])
    answer.add(events)
    return answer


def test_prompt_and_answer_are_timed_apart() -> None:
    """The wait belongs to neither, cached tokens were not computed, and the first came with it."""
    events = [Delta(0, "x", 1, (), ARRIVED_US + at_us) for at_us in (50_000, 60_000, 90_000)]
    end = Finished(0, "length", 30, 3, 10_000, 0, cached_tokens=20)
    assert timings.of(answered(*events, end), ARRIVED_US) == {
        "cache_n": 20,
        "prompt_n": 10,
        "prompt_ms": 40.0,
        "prompt_per_token_ms": 4.0,
        "prompt_per_second": 250.0,
        "predicted_n": 3,
        "predicted_ms": 40.0,
        "predicted_per_token_ms": 20.0,
        "predicted_per_second": 50.0,
    }


def test_an_answer_of_one_token_has_no_rate() -> None:
    """Nor does one without any: nothing is divided by zero."""
    end = Finished(0, "length", 4, 1, 0, 0)
    one = timings.of(answered(Delta(0, "x", 1, (), ARRIVED_US + 8_000), end), ARRIVED_US)
    assert (one["predicted_n"], one["predicted_ms"], one["predicted_per_second"]) == (1, 0.0, 0.0)
    assert one["prompt_ms"] == 8.0
    none = timings.of(answered(Finished(0, "length", 4, 0, 0, 0)), ARRIVED_US)
    assert (none["predicted_n"], none["prompt_ms"], none["prompt_per_second"]) == (0, 0.0, 0.0)
