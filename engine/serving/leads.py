"""Short requests of a tenant that asks for little go ahead of its share, on bounded credit.

Duda and Cheriton 1999, "Borrowed-virtual-time (BVT) scheduling": what is sensitive to latency is
dispatched by its virtual time less a warp; the time it takes is counted all the same, so that it is
paid back right after and the shares stay equal. Here the warp is a credit. It is spent on the first
time of each sequence, since nothing tells a short answer from a long one beforehand (least attained
service first; Nuyens and Wierman 2008, "The foreground-background queue: a survey"), and refills at
the tenant's share of the time that passes, up to its capacity: what its short requests take beyond
that goes at the pace of all, and idling earns no more than one capacity. A tenant that asks for
more places than there are has no lead.

Pure; imports the standard library only. Imported by the scheduler and its neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.serving.sequences import Class, Sequence

if TYPE_CHECKING:
    from engine.serving.scheduler import Scheduler
    from engine.serving.tenant import Tenant

_ROWS: Final = 16
_PROMPT: Final = 64
"""A sequence is young for the time of so many steps and prompt tokens."""
_YOUNG: Final = 4
"""The capacity of the credit, in sequences that are young from their first to their last step."""


def young_us(scheduler: Scheduler) -> float:
    """For how much computed time a sequence is young; 0 before the costs are known."""
    cost = scheduler.cost
    return _ROWS * cost.step_us(1, 0) + _PROMPT * cost.prefill if cost.known else 0.0


def young(sequence: Sequence, young_us: float) -> bool:
    """Whether a running sequence goes ahead on its tenant's credit."""
    return sequence.short and sequence.busy_us < young_us


def crowds(scheduler: Scheduler, tenant: Tenant) -> bool:
    """Whether it asks for more places than there are."""
    return tenant.asked > scheduler.knobs.max_running


def arrived(scheduler: Scheduler, sequence: Sequence, now_us: int) -> None:
    """Refill the credit of its tenant, and say how far that may go ahead now."""
    if sequence.background:
        return
    tenant = scheduler.above.of(sequence.tenant)
    if scheduler.cost.known:
        prompt_us = scheduler.cost.step_us(0, sequence.prompt_tokens)
        interactive = sequence.class_ is Class.INTERACTIVE
        sequence.short = interactive and prompt_us < young_us(scheduler)
        earned = (now_us - tenant.credited_us) / max(1, scheduler.above.present)
        scheduler.above.slack_us = _YOUNG * young_us(scheduler)
        tenant.credit_us = min(tenant.credit_us + earned, scheduler.above.slack_us)
        tenant.credited_us = now_us
        shared = scheduler.above.present > 1
        tenant.lead_us = tenant.credit_us if shared and not crowds(scheduler, tenant) else 0.0
    for adapter in scheduler.adapters.values():
        adapter.above.lowered(tenant)


def spend(tenant: Tenant, time_us: float) -> None:
    """A young sequence was computed for so long."""
    tenant.credit_us = max(0.0, tenant.credit_us - time_us)
    tenant.lead_us = min(tenant.lead_us, tenant.credit_us)
