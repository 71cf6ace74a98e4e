"""A plan that lasts is what planning anew would give, and nothing is charged otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.serving import charges, turns
from engine.serving.scheduler import Scheduler
from engine.serving.sequences import Class
from engine.serving.step_plan import Plan
from engine.serving.tenant import Tenant
from tests.engine.serving.simulator import SECOND_US, Arrival, Box

KNOBS = ("max_running", "prefill_every", "queue_limit", "weight_background", "weight_batch")
coming = st.tuples(st.sampled_from(["a", "a", "ab"]), st.sampled_from([1, 2, 3])).flatmap(
    lambda drawn: st.lists(
        st.builds(
            Arrival,
            at_us=st.integers(0, 200_000),
            class_=st.sampled_from(list(Class)[: drawn[1]]),
            tenant=st.sampled_from(drawn[0]),
            prompt=st.integers(1, 40),
            wants=st.integers(1, 60),
            patience_us=st.sampled_from([1, 20_000, 3600 * SECOND_US]),
            adapter=st.sampled_from(["", "", "lora"]),
            cancelled_us=st.none() | st.integers(0, 300_000),
            scored=st.sampled_from([0, 0, 0, 0, 5]),
        ),
        min_size=1,
        max_size=12,
    )
)
changes = st.dictionaries(
    st.integers(0, 80), st.dictionaries(st.sampled_from(KNOBS), st.integers(1, 40)), max_size=4
)
BESIDE = [Arrival(wants=60), Arrival(wants=60, class_=Class.BACKGROUND)]
SHARED = [Arrival(wants=60, tenant=name) for name in "abbb"]
CONTINUED = [Arrival(at_us=n * 8_000, wants=1, tokens=tuple(range(30))) for n in range(24)]
HOLES = [*CONTINUED, *(Arrival(at_us=300_000, wants=n, prompt=30) for n in (8, 60, 24, 60))]
"""A hole is closed some steps after it was left, by a sequence that leaves one itself."""


def history(arrivals: list[Arrival], knobs: dict[int, dict[str, int]], *, anew: bool) -> list[Any]:
    """All that was decided and charged; `anew`: every step is planned and charged by itself."""
    seen: list[Any] = []

    def watch(box: Box, plan: Plan) -> None:
        rows = [(row.sequence.id, *row[1:]) for row in plan.rows]
        seen.append((box.now_us, plan._replace(rows=(), refusals=()), rows))
        if anew:
            box.scheduler._steady.interrupt()

    box = Box(adapters=("", "lora"), watch=watch)
    box.replay(arrivals, knobs)
    scheduler = box.scheduler
    seen += [(s.id, s.busy_us, s.first_us, s.parks, s.cached) for s in box.known.values()]
    seen += [
        (tenant.name, tenant.served, tenant.prepaid_us, tenant.turns, tenant.credit_us)
        for tenants in (scheduler.above, scheduler.below)
        for tenant in tenants._known.values()
    ]
    seen += [(id, each.message, each.retry_after_us) for id, each in box.refusals.items()]
    seen += [scheduler.credit_us, scheduler.cost._sums, scheduler.rates.request_us]
    return seen


@settings(max_examples=60, deadline=None)
@given(coming, changes)
@example(BESIDE, {})
@example(SHARED, {})
@example(HOLES, {})
def test_a_plan_that_lasts_is_what_planning_anew_gives(
    arrivals: list[Arrival], knobs: dict[int, dict[str, int]]
) -> None:
    """Every step, every charge and every refusal, to the last bit, whatever comes between."""
    assert history(arrivals, knobs, anew=False) == history(arrivals, knobs, anew=True)


def test_the_streams_of_one_tenant_are_planned_when_something_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then the plan lasts until the next arrival, and is the last one with a token more."""
    decided: list[int] = []
    order = turns.order

    def count(scheduler: Scheduler, *, contended: bool) -> list[tuple[Tenant, str]]:
        decided.append(box.now_us)
        return order(scheduler, contended=contended)

    monkeypatch.setattr(turns, "order", count)
    box = Box(adapters=("", "lora"))
    box.flood(2, Arrival(wants=40))
    box.steps(20)
    assert len(decided) <= 4
    decided.clear()
    box.submit(Arrival(wants=40))
    assert box.step().prefill
    assert decided


def test_what_lasts_is_charged_before_anything_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """The charges of all steps are there when the next request comes."""
    charged: list[int] = []
    account = charges.account

    def count(*given: Any) -> None:
        charged.append(given[-1])
        account(*given)

    monkeypatch.setattr(charges, "account", count)
    box = Box()
    sequence = box.submit(Arrival(wants=50))
    plans = box.steps(13)
    assert len(charged) < len(plans)
    box.submit(Arrival())
    assert len(charged) == len(plans)
    assert sequence.busy_us == sum(charged) == box.now_us
