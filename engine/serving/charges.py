"""What a computed step cost, to its sequences, to its tenants, and to background's credit.

The parts of a step's time add up to it. Pure; imports the standard library only. Imported by the
scheduler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.serving import leads, step_cost
from engine.serving.knobs import Knobs
from engine.serving.sequences import Class
from engine.serving.step_plan import Plan
from engine.serving.tenant import Tenant

if TYPE_CHECKING:
    from engine.serving.scheduler import Scheduler

MAX_CREDIT_US: Final = 200_000.0
_HICCUP: Final = 4.0
"""A step that took so many times what was expected is charged to tenants as if it had not."""


def weights(knobs: Knobs) -> tuple[float, float, float]:
    """How much the time of each class counts: batch costs its tenant more of its share."""
    return (1.0, knobs.weight_interactive / knobs.weight_batch, 1.0)


def account(scheduler: Scheduler, plan: Plan, busy_us: int) -> None:
    """Apportion the step's time, charge it, and learn from it."""
    cost = scheduler.cost
    known = cost.known
    each = cost.fixed / len(plan.rows)
    parts = step_cost.shares(
        busy_us,
        [
            each + (cost.decode if s.decoding else cost.prefill * count) + (0 if known else count)
            for s, _, count, _ in plan.rows
        ],
    )
    usual = _HICCUP * cost.step_us(plan.decode, plan.prefill) if known else busy_us
    scale = min(1.0, usual / busy_us) if busy_us else 1.0
    top = min([row.sequence.class_ for row in plan.rows])
    _charge(scheduler, plan, parts, scale, top)
    answers, cached = busy_us, 0
    if plan.prefill:
        rows = zip(plan.rows, parts, strict=True)
        answers = sum(part for row, part in rows if row.sequence.decoding)
        begun = (row for row in plan.rows if row.start == row.sequence.cached)
        cached = sum(row.start for row in begun if not row.sequence.decoding)
    scheduler.rates.step((busy_us - answers, plan.prefill), (answers, plan.decode), cached)
    cost.observe(plan.decode, plan.prefill, busy_us)
    if plan.contended:
        _credit(scheduler, plan, parts, busy_us, top)


def _charge(scheduler: Scheduler, plan: Plan, parts: list[int], scale: float, top: Class) -> None:
    """Charge the tenants for their rows, and the turn of one without rows for the whole step."""
    counts, young_us = weights(scheduler.knobs), leads.young_us(scheduler)
    above, below = scheduler.above, scheduler.below
    background = Class.BACKGROUND
    spent: dict[Tenant, float] = {}
    for (sequence, _, _, _), part in zip(plan.rows, parts, strict=True):
        class_ = sequence.class_
        time_us = part * scale * counts[class_]
        prepaid = min(sequence.prepaid_us, time_us)
        sequence.prepaid_us -= prepaid
        tenants = below if class_ is background else above
        tenant = tenants.of(sequence.tenant)
        tenant.prepaid_us -= prepaid
        tenants.serve(tenant, time_us - prepaid)
        spent[tenant] = spent.get(tenant, 0.0) + time_us
        if leads.young(sequence, young_us):
            leads.spend(tenant, part * scale)
        sequence.busy_us += part
    tenants = below if top is background else above
    turn = tenants.of(plan.tenant)
    if turn not in spent:
        spent[turn] = sum(parts) * scale * counts[top]
    for tenant, time_us in spent.items():
        tenants.pay(tenant, time_us)


def _credit(scheduler: Scheduler, plan: Plan, parts: list[int], busy_us: int, top: Class) -> None:
    """Background earns its share of the time that others take, and pays for its own."""
    cost, background = scheduler.cost, Class.BACKGROUND
    if top is background:
        scheduler.credit_us -= busy_us
    else:
        spent, marginal = 0, 0.0
        for (sequence, _, count, _), part in zip(plan.rows, parts, strict=True):
            if sequence.class_ is background:
                spent += part
                marginal += cost.decode if sequence.decoding else cost.prefill * count
        share = scheduler.knobs.weight_background / scheduler.knobs.weight(top)
        scheduler.credit_us += (busy_us - spent) * share
        scheduler.credit_us -= min(float(spent), marginal)
    scheduler.credit_us = min(scheduler.credit_us, MAX_CREDIT_US)
