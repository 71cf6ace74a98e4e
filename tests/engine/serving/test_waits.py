"""Estimated waits are true: of what is refused early, and of what is asked to come again."""

from __future__ import annotations

import heapq
import itertools
import random

import pytest

from engine.serving import waits
from engine.serving.knobs import Knobs
from engine.serving.sequences import Sequence, State
from tests.engine.serving.simulator import SECOND_US, Arrival, Box

CPU = (520, 124, 75)


def box(**knobs: int) -> Box:
    """The shipped model on one core."""
    return Box(
        slots=16,
        adapters=("", "lora"),
        knobs=Knobs().changed(knobs),
        sequence_tokens=1024,
        costs_us=CPU,
    )


def burst(dice: random.Random, count: int, wants: int, **fields: int | str) -> list[Arrival]:
    """Requests of about this length; their limits say little, as those of clients do."""
    return [
        Arrival(
            prompt=dice.randrange(40, 160),
            wants=max(1, int(dice.expovariate(1 / wants))),
            limit=512,
            **fields,  # type: ignore[arg-type]
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("before", "after"), [(40, 10), (10, 40), (40, 40)])
def test_of_those_refused_early_at_most_one_in_twenty_would_have_been_in_time(
    seed: int, before: int, after: int
) -> None:
    """Though answers become a quarter as long, or four times: the same arrivals with patience tell.

    And nothing that is late in the queue was computed in part.
    """
    patience_us = 3 * SECOND_US
    runs: list[list[Sequence]] = []
    refused = set[int]()
    for patient in (False, True):
        dice = random.Random(seed)
        one = box(queue_limit=10_000, queue_tokens_limit=10_000_000)
        one.flood(40, Arrival(prompt=100, wants=before, limit=512))
        one.steps(300)
        asked = []
        for arrival in burst(
            dice, 300, after, patience_us=3600 * SECOND_US if patient else patience_us
        ):
            asked.append(one.submit(arrival))
            if dice.random() < 0.3:
                one.step()
        early = {n for n, s in enumerate(asked) if s.state is State.ENDED and s.id in one.refusals}
        one.replay([], {})
        runs.append(asked)
        if not patient:
            refused = early
    hasty, patient_run = runs
    false = [n for n in refused if _wait(patient_run[n]) <= patience_us]
    assert len(false) <= 0.05 * len(refused)
    assert all(s.busy_us == 0 for s in hasty if s.first_us < 0), "computed and thrown away"


def _wait(sequence: Sequence) -> int:
    return sequence.first_us - sequence.arrived_us


def test_a_request_for_many_answers_is_not_thrown_away_in_the_middle() -> None:
    """Its first tokens came in time: the rest of its answers is worth the wait."""
    one = box()
    many = Arrival(prompt=100, wants=300, limit=300, patience_us=SECOND_US)
    answers = [one.submit(many) for _ in range(1)]
    first = answers[0].id
    answers += [one.submit(many, request=first) for _ in range(47)]
    one.replay([], {})
    assert not one.refusals
    assert [s.completion_tokens for s in answers] == [300] * 48
    assert max(s.first_us for s in answers) > SECOND_US


def test_alone_such_answers_would_have_been_late() -> None:
    """Requests of their own are refused at their deadlines."""
    one = box()
    one.flood(48, Arrival(prompt=100, wants=300, limit=300, patience_us=SECOND_US))
    one.replay([], {})
    assert {refusal.code for refusal in one.refusals.values()} == {"deadline"}


def test_prompts_ahead_that_are_in_memory_keep_nobody_out() -> None:
    """A few tokens of each are computed, in steps that take little longer for more of them."""
    one = box(queue_limit=10_000, queue_tokens_limit=10_000_000)
    shared = tuple(range(1, 901))

    def ask(count: int) -> list[Sequence]:
        return [
            one.submit(Arrival(tokens=(*shared, n), wants=1, limit=1, patience_us=SECOND_US))
            for n in range(1000, 1000 + count)
        ]

    ask(100)
    one.replay([], {})
    asked = ask(400)
    one.replay([], {})
    assert not one.refusals
    assert max(map(_wait, asked)) < SECOND_US


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("wants", [5, 60])
def test_forty_clients_that_obey_are_answered_by_a_queue_of_two(wants: int, warm: bool) -> None:
    """All within two retries, as the default client makes: the promised times are spread."""
    one = box(queue_limit=2, max_running=2)
    if warm:
        one.flood(3, Arrival(prompt=100, wants=wants, tenant="warm"))
        one.replay([], {})
    tries: list[tuple[int, int, int]] = [(one.now_us, 0, client) for client in range(40)]
    heapq.heapify(tries)
    answered, gave_up = list[Sequence](), list[int]()
    while tries:
        at, retries, client = heapq.heappop(tries)
        while one.now_us < at:
            if not one.scheduler.live:
                one.now_us = at
                break
            one.step()
        sequence = one.submit(Arrival(prompt=100, wants=wants, limit=512))
        refusal = one.refusals.get(sequence.id)
        if refusal is None:
            answered.append(sequence)
        elif retries == 2:
            gave_up.append(client)
        else:
            assert refusal.retry_after_us > 0
            heapq.heappush(tries, (one.now_us + refusal.retry_after_us, retries + 1, client))
    one.replay([], {})
    assert not gave_up
    assert len(answered) == 40
    assert all(s.first_us > 0 for s in answered)


def test_promised_times_are_apart_and_bounded() -> None:
    """Each refused client comes after the one before; none is sent away for hours."""
    one = box(queue_limit=0, max_running=1)
    one.submit(Arrival(prompt=100, wants=400, limit=512))
    one.steps(50)
    refused = one.flood(5000, Arrival(prompt=100, wants=5))
    told = [one.refusals[sequence.id].retry_after_us for sequence in refused]
    assert all(later > sooner for sooner, later in itertools.pairwise(told[:20]))
    assert max(told) <= waits.RETRY_MOST_US
    other = one.submit(Arrival(tenant="other", prompt=100, wants=5))
    assert one.refusals[other.id].retry_after_us < told[40]
