"""What a computed step cost, to its sequences, to its tenants, and to background's credit.

The parts of a step's time add up to it. Pure; imports the standard library only. Imported by the
scheduler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.serving import leads, step_cost
from engine.serving.sequences import Class, Sequence
from engine.serving.step_plan import Plan
from engine.serving.tenant import Tenant

if TYPE_CHECKING:
    from engine.serving.scheduler import Scheduler

MAX_CREDIT_US: Final = 200_000.0
_HICCUP: Final = 4.0
"""A step that took so many times what was expected is charged to tenants as if it had not."""


def weight(scheduler: Scheduler, sequence: Sequence) -> float:
    """How much its time counts: batch costs its tenant more of its share than interactive."""
    if sequence.background:
        return 1.0
    return scheduler.knobs.weight_interactive / scheduler.knobs.weight(sequence.class_)


def account(scheduler: Scheduler, plan: Plan, busy_us: int) -> None:
    """Apportion the step's time, charge it, and learn from it."""
    cost = scheduler.cost
    each = cost.fixed / len(plan.rows)
    weights = [
        each + (cost.decode if s.decoding else cost.prefill * count) + (0 if cost.known else count)
        for s, _, count, _ in plan.rows
    ]
    parts = step_cost.shares(busy_us, weights)
    usual = _HICCUP * cost.step_us(plan.decode, plan.prefill) if cost.known else busy_us
    scale = min(1.0, usual / busy_us) if busy_us else 1.0
    _charge(scheduler, plan, parts, scale)
    answers = sum(part for row, part in zip(plan.rows, parts, strict=True) if row.sequence.decoding)
    scheduler.rates.step((busy_us - answers, plan.prefill), (answers, plan.decode))
    cost.observe(plan.decode, plan.prefill, busy_us)
    if plan.contended:
        _credit(scheduler, plan, parts, busy_us)


def _charge(scheduler: Scheduler, plan: Plan, parts: list[int], scale: float) -> None:
    """Charge the tenants for their rows, and the turn of one without rows for the whole step."""
    young_us = leads.young_us(scheduler)
    spent: dict[Tenant, float] = {}
    for (sequence, _, _, _), part in zip(plan.rows, parts, strict=True):
        time_us = part * scale * weight(scheduler, sequence)
        prepaid = min(sequence.prepaid_us, time_us)
        sequence.prepaid_us -= prepaid
        tenants = scheduler.tenants(background=sequence.background)
        tenant = tenants.of(sequence.tenant)
        tenant.prepaid_us -= prepaid
        tenants.serve(tenant, time_us - prepaid)
        spent[tenant] = spent.get(tenant, 0.0) + time_us
        if leads.young(sequence, young_us):
            leads.spend(tenant, part * scale)
        sequence.busy_us += part
    top = min((row.sequence for row in plan.rows), key=lambda s: s.class_)
    tenants = scheduler.tenants(background=top.background)
    spent.setdefault(tenants.of(plan.tenant), sum(parts) * scale * weight(scheduler, top))
    for tenant, time_us in spent.items():
        tenants.pay(tenant, time_us)


def _credit(scheduler: Scheduler, plan: Plan, parts: list[int], busy_us: int) -> None:
    """Background earns its share of the time that others take, and pays for its own."""
    cost = scheduler.cost
    below = [row.sequence.background for row in plan.rows]
    spent = sum(part for part, low in zip(parts, below, strict=True) if low)
    top = min(row.sequence.class_ for row in plan.rows)
    if top < Class.BACKGROUND:
        share = scheduler.knobs.weight_background / scheduler.knobs.weight(top)
        scheduler.credit_us += (busy_us - spent) * share
        marginal = [
            cost.decode if row.sequence.decoding else cost.prefill * row.tokens
            for row, low in zip(plan.rows, below, strict=True)
            if low
        ]
        scheduler.credit_us -= min(float(spent), sum(marginal))
    else:
        scheduler.credit_us -= busy_us
    scheduler.credit_us = min(scheduler.credit_us, MAX_CREDIT_US)
