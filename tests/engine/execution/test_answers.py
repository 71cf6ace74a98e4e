"""What the events of a job add up to."""

from __future__ import annotations

import pytest

from engine.execution.answers import Answer
from engine.execution.job import Delta, Finished, Job, Restarted
from tests.engine.execution import jobs


def answer(job: Job) -> Answer:
    """An answer without any event yet."""
    return Answer(job, [])


@pytest.mark.parametrize(
    ("prompts", "counts", "total"),
    [
        (1, [10, 10], 10),
        (2, [10, 20], 30),
        (2, [10, 10, 20, 20], 30),
        (2, [None, 10, 20, None], 30),
        (2, [None, None, 20, None], 20),
    ],
)
def test_each_prompt_counts_once(prompts: int, counts: list[int | None], total: int) -> None:
    """However many choices answer it, and whichever of them have ended."""
    one = answer(jobs.job(*["x"] * prompts, n=len(counts) // prompts))
    for index, count in enumerate(counts):
        if count is not None:
            one.end(Finished(index, "stop", count, 3, 0, 0))
    assert one.prompt_tokens == total


def test_what_choices_find_of_each_other_was_not_cached_before() -> None:
    """The second forks the prompt that the first computed."""
    one = answer(jobs.job("x", "y", n=2))
    for index, cached in enumerate((4, 9, 0, 9)):
        one.end(Finished(index, "stop", 10, 3, 0, 0, cached_tokens=cached))
    assert (one.prompt_tokens, one.cached_tokens) == (20, 4)


def test_a_restart_voids_what_came_before() -> None:
    """Text, tokens, ends and the time of the first token."""
    one = answer(jobs.job(n=2))
    one.add((Delta(0, "half", 1, (), 5), Finished(1, "stop", 3, 1, 0, 0)))
    one.add((Restarted(), Delta(0, "whole", 1, (), 7)))
    assert (one.choices[0].text, one.first_us, one.completion_tokens) == ("whole", 7, 1)
    assert not one.complete


def test_gaps_are_measured_when_the_tokens_arrived() -> None:
    """Not when the reader took them."""
    gaps: list[int] = []
    one = Answer(jobs.job(stream=True), gaps)
    one.add((Delta(0, "a", 1, (), 10), Delta(0, "b", 1, (), 14)))
    one.add((Delta(0, "c", 1, (), 20),))
    assert gaps == [4, 6]
    assert one.choices[0].text == ""
