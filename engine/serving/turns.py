"""Whose turn the next step is, and how long it may be for the sake of the others.

Each tenant has its turn to say which context steps, in equal time; a tenant with several contexts
takes them in turn, and one that goes ahead (`leads`) first those with its young sequences, or with
one that starts now: what waits for a place gives no lead to what has one. Such a step, and one with
the prompt of a tenant that asks for little, is urgent: what others compute in it may hardly
lengthen it. Pure; imports the standard library only. Imported by the scheduler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.serving import leads, places
from engine.serving.places import AdapterState
from engine.serving.sequences import Sequence
from engine.serving.tenant import Tenant

if TYPE_CHECKING:
    from engine.serving.scheduler import Scheduler

_BRIEF: Final = 6
_LEADING: Final = 8
"""A step among several tenants, or of one that goes ahead, takes so many times one of one row."""
_ALONE: Final = 3
"""A step without decoded rows may take so many times `prefill_ms`."""
_WORTH: Final = 4
_BRIEFEST: Final = 16
"""A step among several tenants may hold at least so many prompt tokens."""


def order(scheduler: Scheduler, *, contended: bool) -> list[tuple[Tenant, str]]:
    """Who says which context steps: the tenants in turn, each with its contexts in turn.

    A context with background alone steps in its turn while background has credit.
    """
    turns = _wanted(scheduler, background=False)
    if contended and scheduler.credit_us <= 0:
        return turns
    alone = [
        turn
        for turn in _wanted(scheduler, background=True)
        if not scheduler.adapters[turn[1]].has(background=False)
    ]
    if turns and alone:
        first, low = (scheduler.adapters[each[0][1]].stepped for each in (turns, alone))
        if low < first:
            return [*alone, *turns]
    return [*turns, *alone]


def _wanted(scheduler: Scheduler, *, background: bool) -> list[tuple[Tenant, str]]:
    """(tenant, context) for all that could step, by turn."""
    tenants = scheduler.tenants(background=background)
    if tenants.present == 1:
        found = [name for name, a in scheduler.adapters.items() if a.has(background=background)]
        found.sort(key=lambda name: scheduler.adapters[name].stepped)
        return [(tenant, name) for tenant in tenants.active for name in found]
    young_us = leads.young_us(scheduler)
    wanted: dict[tuple[Tenant, str], float] = {}
    for name, adapter in scheduler.adapters.items():
        for sequence in adapter.running:
            if sequence.background == background:
                key = (tenants.of(sequence.tenant), name)
                if key not in wanted or leads.young(sequence, young_us):
                    wanted[key] = key[0].lead_us if leads.young(sequence, young_us) else 0.0
        queue = adapter.queue(background=background)
        top = queue.top()
        head = queue.first(top) if top is not None else None
        if top is not None and head is not None:
            lead_us = top.lead(head) if places.gets(scheduler, adapter, top, head) else 0.0
            wanted[top, name] = wanted.get((top, name), 0.0) or lead_us
    if len(wanted) == 1:
        return list(wanted)
    return sorted(
        wanted,
        key=lambda each: (
            tenants.turn(each[0]) - wanted[each],
            each[0].running,
            scheduler.adapters[each[1]].stepped,
        ),
    )


def leading(scheduler: Scheduler, adapter: AdapterState, tenant: Tenant) -> bool:
    """Whether a tenant goes ahead of its share with a sequence that runs here."""
    if tenant.lead_us <= 0 or not shared(scheduler):
        return False
    young_us = leads.young_us(scheduler)
    return any(s.tenant == tenant.name and leads.young(s, young_us) for s in adapter.running)


def urgent(scheduler: Scheduler, adapter: AdapterState, tenant: Tenant) -> bool:
    """Whether a tenant that does not crowd the others has a prompt to compute at its turn."""
    return (
        shared(scheduler)
        and not leads.crowds(scheduler, tenant)
        and any(s.tenant == tenant.name and s.reading and not s.background for s in adapter.running)
    )


def riders(
    scheduler: Scheduler, adapter: AdapterState, tenant: Tenant, *, leads_: bool
) -> list[Sequence]:
    """The decoding sequences of others that may hardly lengthen an urgent step.

    Those of a tenant that crowds the others; in the step of one that goes ahead, all. The nearest
    to its own slots first, since a pass over the weights takes consecutive slots.
    """
    own = [s.slot for s in adapter.running if s.tenant == tenant.name and s.slot >= 0]
    at = sum(own) / len(own) if own else 0.0
    found = [
        s
        for s in adapter.running
        if s.decoding
        and not s.background
        and s.tenant != tenant.name
        and (leads_ or leads.crowds(scheduler, scheduler.above.of(s.tenant)))
    ]
    return sorted(found, key=lambda s: abs(s.slot - at))


def joins(scheduler: Scheduler, sequence: Sequence, tenant: Tenant) -> bool:
    """Whether an urgent step computes a prompt: its tenant's, or one that might go ahead, too.

    The latter where it takes less than a step takes anyway.
    """
    if sequence.tenant == tenant.name:
        return True
    cost, other = scheduler.cost, scheduler.above.of(sequence.tenant)
    return (
        sequence.short
        and sequence.missing * cost.prefill <= cost.fixed
        and other.lead_us > 0
        and not leads.crowds(scheduler, other)
    )


def shared(scheduler: Scheduler) -> bool:
    """Whether more than one tenant uses the worker now, or did lately."""
    above, below = scheduler.above, scheduler.below
    if above.present > 1 or below.present > 1:
        return True
    return above.present == below.present == 1 and above.names() != below.names()


def prompt_tokens(scheduler: Scheduler, rows: int, *, leading: bool = False) -> int:
    """How many prompt tokens a step with so many decoded rows may hold.

    Among several tenants steps are kept brief, since a newcomer waits for the one in flight; less
    brief for a tenant that goes ahead.
    """
    most = _most(scheduler, rows)
    if not shared(scheduler):
        return most
    steps = _LEADING if leading else _BRIEF
    return min(most, max(scheduler.cost.within(steps, rows), _BRIEFEST))


def _most(scheduler: Scheduler, rows: int) -> int:
    """How many prompt tokens a step may hold beside so many decoded rows, whoever else waits.

    As many as keep it within `prefill_ms`; where that is little time, so many that the further pass
    over the weights which they cost is a fifth of theirs. More where no rows decode and only a
    newcomer waits. A fixed number before costs were measured, or where that knob is off.
    """
    knobs, cost = scheduler.knobs, scheduler.cost
    if not knobs.prefill_ms or not cost.known:
        return knobs.prefill_budget
    allowed_us = 1000 * knobs.prefill_ms * (1 if rows else _ALONE)
    spare_us = max(allowed_us - cost.step_us(rows, 0), _WORTH * cost.fixed)
    return min(scheduler.room, max(cost.tokens(spare_us), _BRIEFEST))
