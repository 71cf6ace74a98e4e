"""How one step is filled at a tenant's turn: decode rows, then prompts, background last.

Pure; imports the standard library only. Imported by the scheduler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.serving import gathering, places, prefix_cache, turns
from engine.serving.admission import Refusal
from engine.serving.places import AdapterState
from engine.serving.step_plan import Plan, StepFilling
from engine.serving.tenant import Tenant

if TYPE_CHECKING:
    from engine.serving.scheduler import Scheduler


def fill(
    scheduler: Scheduler,
    name: str,
    tenant: Tenant,
    now_us: int,
    *,
    contended: bool,
    refusals: tuple[Refusal, ...],
) -> Plan:
    """Decode rows, then prompts, at the turn of `tenant`; background's prompts come last."""
    adapter = scheduler.adapters[name]
    _begin_awaiting(adapter)
    gathers = gathering.waits(scheduler, adapter, now_us)
    if not gathers:
        _start_above(scheduler, adapter, now_us)
    leading = turns.leading(scheduler, adapter, tenant)
    urgent = leading or turns.urgent(scheduler, adapter, tenant)
    riders = turns.riders(scheduler, adapter, tenant, leads_=leading) if urgent else []
    step = StepFilling(
        scheduler.cost,
        room=scheduler.room,
        scored_outputs=scheduler.scored_outputs,
        spare_us=scheduler.credit_us if contended else float("inf"),
    )
    for sequence in adapter.running:
        if sequence.decoding and not sequence.background and not (riders and sequence in riders):
            step.decode(sequence)
    begun = [s for s in adapter.running if not s.background and s.reading]
    begun.sort(key=lambda s: (s.tenant != tenant.name, not s.short, s.class_, s.started_us))
    most = turns.prompt_tokens(scheduler, len(step.rows), leading=leading)
    if urgent:
        needed = min(sum(s.missing for s in begun if turns.joins(scheduler, s, tenant)), most)
        spare_us = scheduler.cost.riders(len(step.rows), needed)
        for sequence in riders:
            spare_us -= scheduler.cost.decode
            if spare_us < 0:
                break
            step.decode(sequence)
        others = 0 if leading else scheduler.cost.tokens(spare_us)
        step.budget = min(most, needed + others)
    else:
        _decode_below(adapter, step)
        step.budget = 0 if gathers else most
    step.open(min(step.budget, scheduler.room - len(step.rows)))
    for sequence in begun:
        step.prefill(sequence)
    if not urgent:
        _fill_below(scheduler, adapter, step, now_us)
    adapter.slots.arrange(
        [s for s in adapter.running if s.slot >= 0 and not s.background],
        [s for s in adapter.running if s.slot >= 0 and s.background],
    )
    filled = sorted(step.rows, key=lambda row: row.sequence.slot)
    decode = sum(row.sequence.decoding for row in filled)
    prefill = sum(row.tokens for row in filled) - decode
    moves = adapter.slots.take_moves() if filled else ()
    return Plan(name, tenant.name, moves, tuple(filled), decode, prefill, contended, refusals)


def _decode_below(adapter: AdapterState, step: StepFilling) -> None:
    """Background's decode rows, as far as its time reaches."""
    low = [s for s in adapter.running if s.decoding and s.background]
    for sequence in sorted(low, key=lambda s: s.slot):
        if not step.decode(sequence):
            return


def _begin_awaiting(adapter: AdapterState) -> None:
    """Begin what waited for another sequence to compute a common prefix, once that is done."""
    for sequence in adapter.running:
        if sequence.awaits is not None and not prefix_cache.waits(sequence):
            adapter.slots.begin(sequence)


def _start_above(scheduler: Scheduler, adapter: AdapterState, now_us: int) -> None:
    """Start sequences while their tenant has fewer prompt tokens begun than a step may hold."""
    if adapter.above.top() is None:
        return
    most = turns.prompt_tokens(scheduler, 0)
    begun: dict[str, int] = {}
    for sequence in adapter.running:
        if not sequence.background and sequence.reading:
            begun[sequence.tenant] = begun.get(sequence.tenant, 0) + sequence.missing
    while (tenant := adapter.above.top()) is not None:
        if begun.get(tenant.name, 0) >= most:
            return
        fresh = places.following(scheduler, adapter, now_us, background=False)
        if fresh is None:
            return
        scheduler.start(adapter, fresh, now_us)
        begun[tenant.name] = begun.get(tenant.name, 0) + fresh.missing * fresh.reading


def _fill_below(
    scheduler: Scheduler, adapter: AdapterState, step: StepFilling, now_us: int
) -> None:
    """Background's prompts, in what is left."""
    begun = [s for s in adapter.running if s.background and s.reading]
    for sequence in sorted(begun, key=lambda s: s.started_us):
        step.prefill(sequence)
    while step.budget > 0 and step.spare_us > scheduler.cost.prefill:
        fresh = places.following(scheduler, adapter, now_us, background=True)
        if fresh is None:
            return
        scheduler.start(adapter, fresh, now_us)
        if fresh.decoding:  # it was parked, and all of its memory was kept
            step.decode(fresh)
            step.budget -= 1
        elif fresh.reading:
            step.prefill(fresh)
