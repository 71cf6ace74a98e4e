"""Short requests go ahead of their tenant's share, and the share stays what it is."""

from __future__ import annotations

import itertools

import pytest

from engine.serving import leads
from engine.serving.knobs import Knobs
from engine.serving.step_plan import Plan
from tests.engine.serving.simulator import SECOND_US, Arrival, Box

COSTS_US = (520, 124, 75)
SHORT = Arrival(tenant="short", prompt=18, wants=8)
STREAM = Arrival(tenant="stream", prompt=10, wants=8000, limit=8000, adapter="lora")


def box(costs_us: tuple[int, int, int] = COSTS_US) -> Box:
    """Two contexts of one worker."""
    return Box(
        slots=8,
        adapters=("", "lora"),
        knobs=Knobs(max_running=8),
        sequence_tokens=8192,
        costs_us=costs_us,
    )


def asking(clients: int, steps: int) -> tuple[Box, dict[str, int], int]:
    """A stream beside clients that ask again as soon as they are answered.

    Returns the box, the time of each one's steps, and the longest wait of the stream for a token.
    """
    shared = box()
    stepped = {"": 0, "lora": 0}
    pauses = []

    def watch(box: Box, plan: Plan) -> None:
        pauses.append(box.now_us if plan.adapter == "lora" else 0)

    shared.watch = watch
    shared.submit(STREAM)
    shared.steps(20)
    asked = [shared.submit(SHORT) for _ in range(clients)]
    for _ in range(steps):
        began = shared.now_us
        plan = shared.step()
        stepped[plan.adapter] += shared.now_us - began
        asked = [s if s.id in shared.scheduler.live else shared.submit(SHORT) for s in asked]
    at = [us for us in pauses if us]
    return shared, stepped, max(b - a for a, b in itertools.pairwise(at))


@pytest.mark.parametrize("clients", [1, 2, 4, 16])
def test_the_time_that_short_requests_borrow_is_paid_back(clients: int) -> None:
    """A tenant that asks shortly all the time gets half of it.

    The other's stream never pauses for longer than the credit lasts.
    """
    shared, stepped, pause_us = asking(clients, 6000)
    share = stepped["lora"] / sum(stepped.values())
    assert 0.47 <= share <= 0.53
    assert pause_us <= 4 * leads.young_us(shared.scheduler)


def test_a_short_request_beside_a_busy_context_is_computed_without_a_turn_of_the_other() -> None:
    """Its steps follow each other, although its tenant had half of the time before."""
    shared = box()
    shared.submit(STREAM)
    own = shared.submit(Arrival(tenant="short", prompt=10, wants=8000, limit=8000))
    shared.steps(200)
    short = shared.submit(SHORT)
    plans = []
    while short.id in shared.scheduler.live:
        plans.append(shared.step())
    assert [plan.adapter for plan in plans[1:]] == [""] * (len(plans) - 1)
    assert own.id in shared.scheduler.live


def test_idling_earns_no_more_than_the_capacity() -> None:
    """An hour without a request is worth four short ones."""
    shared = box()
    shared.submit(STREAM)
    shared.submit(SHORT)
    shared.steps(100)
    shared.now_us += 3600 * SECOND_US
    shared.submit(SHORT)
    lead = shared.scheduler.above.of("short").lead_us
    assert 0 < lead <= 4 * leads.young_us(shared.scheduler)


def test_a_tenant_that_asks_for_more_places_than_there_are_has_no_lead() -> None:
    """Nor has a long prompt, or what is in batch."""
    shared = box()
    shared.submit(STREAM)
    shared.submit(SHORT)
    shared.steps(100)
    shared.submit(Arrival(tenant="short", prompt=4000))
    assert not any(s.short for s in shared.scheduler.live.values() if s.tenant == "short")
    shared.flood(8, SHORT)
    assert shared.scheduler.above.of("short").lead_us == 0


def test_what_a_flood_was_charged_in_advance_does_not_delay_a_newcomer() -> None:
    """A tenant that comes is lifted to what the others received, not to what they will receive."""
    shared = box()
    shared.submit(Arrival(tenant="first", wants=300, limit=300))
    shared.steps(310)
    shared.flood(20, Arrival(tenant="flood", prompt=100, wants=4000, limit=4000))
    shared.steps(60)
    newcomer = shared.submit(SHORT)
    of = shared.scheduler.above.of
    assert of("flood").prepaid_us > 0
    assert of("short").served <= of("flood").served - of("flood").prepaid_us
    shared.steps(2)
    assert newcomer.started_us >= 0
