"""Whose turn the next step is, and how long it may be for the sake of the others.

Each tenant has its turn to say which context steps, in equal time; a tenant with several contexts
takes them in turn. At the turn of a newcomer its first prompt is computed without the sequences of
a tenant that crowds the others. Pure; imports the standard library only. Imported by the scheduler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.serving.fairness import Tenant
from engine.serving.places import AdapterState

if TYPE_CHECKING:
    from engine.serving.scheduler import Scheduler

_BRIEFEST: Final = 4
"""A step among several tenants may hold at least this part of the prompt budget."""


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
    wanted: dict[tuple[Tenant, str], None] = {}
    for name, adapter in scheduler.adapters.items():
        for sequence in adapter.running:
            if sequence.background == background:
                wanted[tenants.of(sequence.tenant), name] = None
        top = adapter.queue(background=background).top()
        if top is not None:
            wanted[top, name] = None
    return sorted(
        wanted,
        key=lambda each: (
            tenants.turn(each[0]),
            each[0].running,
            scheduler.adapters[each[1]].stepped,
        ),
    )


def urgent(scheduler: Scheduler, adapter: AdapterState, tenant: Tenant) -> bool:
    """Whether a tenant that does not crowd the others has a prompt to compute at its turn."""
    return (
        _shared(scheduler)
        and tenant.running <= scheduler.above.share(scheduler.knobs.max_running)
        and any(
            s.tenant == tenant.name and not s.decoding and not s.background for s in adapter.running
        )
    )


def crowd(scheduler: Scheduler, adapter: AdapterState, tenant: Tenant) -> frozenset[str]:
    """The tenants that an urgent step leaves out: they hold more than their share of places."""
    share = scheduler.above.share(scheduler.knobs.max_running)
    others = {s.tenant for s in adapter.running if not s.background} - {tenant.name}
    return frozenset(name for name in others if scheduler.above.of(name).running > share)


def _shared(scheduler: Scheduler) -> bool:
    """Whether more than one tenant uses the worker now, or did lately."""
    return len(scheduler.above.names() | scheduler.below.names()) > 1


def prompt_budget(
    scheduler: Scheduler, adapter: AdapterState, tenant: Tenant, *, urgent: bool
) -> int:
    """How many prompt tokens this step may hold.

    Among several tenants steps are kept brief, since a newcomer waits for the one in flight;
    but a tenant that runs nothing else has its prompt computed at once. The prompts of others
    lengthen an urgent step by an eighth at most.
    """
    most = scheduler.knobs.prefill_budget
    if not _shared(scheduler):
        return most
    own = [
        s.missing
        for s in adapter.running
        if s.tenant == tenant.name and not s.background and not s.decoding
    ]
    at_once = sum(own) if tenant.running == 1 else 0
    most = min(most, max(scheduler.cost.brief(), most // _BRIEFEST, at_once))
    if not urgent:
        return most
    needed = min(sum(own), most)
    return min(most, needed + scheduler.cost.riders(needed))
