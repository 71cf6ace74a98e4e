"""What copies for a shadow cost the users of a worker: simulated, so that no other load counts."""

from __future__ import annotations

import heapq
import random
import statistics
from dataclasses import replace
from typing import Final

import pytest

from engine.serving.knobs import Knobs
from engine.serving.sequences import Class
from tests.engine.serving.simulator import SECOND_US, Arrival, Box

CPU, SLOW, DEVICE = (520, 124, 75), (6000, 2500, 1200), (7000, 300, 60)
"""Microseconds of a step, a decoded row, a prompt token."""
USERS: Final = 2
SHARE: Final = 0.1
PROMPT: Final = 18
WANTS: Final = (4, 24)


def p95_us(costs: tuple[int, int, int], share: float, pause_us: int, until_us: int) -> float:
    """Of users who ask again after a pause, while a share of their requests is copied.

    As the gateway does it: one copy at a time in background, each followed by the scoring of the
    user's answer.
    """
    box = Box(slots=16, knobs=Knobs(), sequence_tokens=1024, scored_outputs=32, costs_us=costs)
    chance, chosen = random.Random(1), random.Random(2)
    due = [(chance.randrange(pause_us), user) for user in range(USERS)]
    heapq.heapify(due)
    asked: dict[int, tuple[int, int, Arrival]] = {}
    copies: list[Arrival] = []
    copying, took = None, []
    while box.now_us < until_us:
        while due and due[0][0] <= box.now_us:
            at_us, user = heapq.heappop(due)
            arrival = Arrival(tenant="user", prompt=PROMPT, wants=chance.randint(*WANTS))
            asked[box.submit(arrival).id] = at_us, user, arrival
        if copying is None and copies:
            copying = box.submit(copies.pop(0)).id
        if box.scheduler.live:
            box.step()
        else:
            box.now_us = due[0][0]
        for id in box.over():
            if id == copying:
                copying = None
                continue
            at_us, user, arrival = asked.pop(id)
            took.append(box.now_us - at_us)
            heapq.heappush(due, (box.now_us + int(chance.expovariate(1 / pause_us)), user))
            if chosen.random() < share:
                copy = replace(arrival, tenant="paddock", class_=Class.BACKGROUND)
                scoring = replace(copy, prompt=PROMPT + copy.wants, scored=copy.wants)
                copies += [copy, scoring]
    assert len(copies) < USERS, "the copies do not keep up"
    return statistics.quantiles(took, n=20, method="inclusive")[-1]


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("costs", "pause_us", "seconds"),
    [(CPU, 50_000, 60), (SLOW, 200_000, 300), (DEVICE, 200_000, 300)],
    ids=["cpu", "slow", "device"],
)
def test_copies_of_a_tenth_raise_the_users_p95_by_less_than_a_twentieth(
    costs: tuple[int, int, int], pause_us: int, seconds: int
) -> None:
    """On the worker that they share; what copies cost the gateway is measured by the bench."""
    until_us = seconds * SECOND_US
    alone, copied = (p95_us(costs, share, pause_us, until_us) for share in (0.0, SHARE))
    assert copied / alone < 1.05
