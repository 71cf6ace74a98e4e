"""How long a newcomer would wait, and when a refused client should come back.

Judged by what was measured: the time per token and the length of answers. Promised times are spread
over the future, one request apart, so that clients that obey them come one after the other. Pure;
imports the standard library only. Imported by `admission`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.serving import places
from engine.serving.sequences import Sequence
from engine.serving.tenant import Backlog, Tenant

if TYPE_CHECKING:
    from engine.serving.scheduler import Scheduler

RETRY_MOST_US: Final = 60_000_000
_LEAST_US: Final = 20_000
"""A client and the gateway need about so long for a request, however fast the model is."""
_UNMEASURED_US: Final = 100_000
_SPACING: Final = 1.25
_SPACING_MOST: Final = 5.0
_WIDER: Final = 1.1
_HALF: Final = 0.5
_SAMPLE: Final = 64
"""So many tenants are looked at; with more, these represent the others."""


def prompt_us(scheduler: Scheduler, sequence: Sequence) -> float:
    """How long a newcomer's prompt takes; 0 before anything was measured."""
    return sequence.prompt_tokens * (scheduler.rates.prompt_us or 0.0)


def cached_us(scheduler: Scheduler, sequence: Sequence) -> float:
    """How much of that is not needed, as far as the prompt is in memory now."""
    adapter = scheduler.adapters.get(sequence.adapter)
    if adapter is None or not scheduler.knobs.prefix_cache:
        return 0.0
    match = adapter.slots.cache.find(sequence)
    return 0.0 if match is None else match.tokens * (scheduler.rates.prompt_us or 0.0)


def retry_us(scheduler: Scheduler, sequence: Sequence, now_us: int) -> int:
    """When a refused client of this tenant should come back: after those that were told before.

    Refusals while promised times fall due mean that those were too close: the next are wider.
    """
    tenants = scheduler.tenants(background=sequence.background)
    tenant = tenants.of(sequence.tenant)
    if now_us > tenant.retry_us:
        tenant.retry_spacing, tenant.retry_from_us = _SPACING, 0
    elif now_us > tenant.retry_from_us:
        tenant.retry_spacing = min(_SPACING_MOST, _WIDER * tenant.retry_spacing)
    each = scheduler.rates.request_us or _UNMEASURED_US
    each = tenant.retry_spacing * max(each * max(1, len(tenants.active)), _LEAST_US)
    wait = place_us(scheduler, sequence) + prompt_us(scheduler, sequence)
    at = int(max(now_us + max(wait, each), tenant.retry_us + each))
    tenant.retry_from_us = tenant.retry_from_us or at
    tenant.retry_us = min(at, now_us + RETRY_MOST_US)
    return tenant.retry_us - now_us


def place_us(scheduler: Scheduler, sequence: Sequence) -> float:
    """How long until a newcomer has a place: until enough of those ahead and running have ended.

    0 before anything was measured.
    """
    adapter = scheduler.adapters.get(sequence.adapter)
    if adapter is None or not scheduler.cost.known:
        return 0.0
    slots = min(scheduler.knobs.max_running, adapter.slots.size)
    free = slots - scheduler.running + places.yields(scheduler, adapter, sequence)
    ahead, work = _ahead(scheduler, sequence)
    if ahead + 1 <= free:
        return 0.0
    running = [
        remaining_us(scheduler, s)
        for each in scheduler.adapters.values()
        for s in each.running
        if s.class_ <= sequence.class_ or not s.background
    ]
    together = sum(running) + work
    mean = together / max(1, len(running) + ahead)
    unfinished = _HALF * mean * min(slots - 1, len(running) + ahead - 1)
    return max(together - unfinished, 0.0)


def remaining_us(scheduler: Scheduler, sequence: Sequence) -> float:
    """What a running sequence still takes; an answer of unknown length is at its middle."""
    rates = scheduler.rates
    prompt = 0 if sequence.decoding else sequence.missing
    usual = rates.completion or 1.0
    left = max(min(usual, sequence.max_tokens) - sequence.completion_tokens, 1.0)
    return prompt * (rates.prompt_us or 0.0) + left * (rates.completion_us or 0.0)


def _ahead(scheduler: Scheduler, sequence: Sequence) -> tuple[int, float]:
    """(sequences, microseconds) that are computed before a newcomer."""
    tenants = scheduler.tenants(background=sequence.background)
    tenant = tenants.of(sequence.tenant)
    own = Backlog()
    for class_, backlog in tenant.waiting.items():
        if class_ <= sequence.class_:
            own.count += backlog.count
            own.prompt_tokens += backlog.prompt_tokens
            own.max_tokens += backlog.max_tokens
    count, work = own.count, _work_us(scheduler, own)
    turn = own.count + 1
    active = tenants.active
    sample = active[:_SAMPLE]
    weight = len(active) / max(1, len(sample))
    for other in sample:
        if other is not tenant:
            others, time_us = _waiting(scheduler, other)
            before = weight * min(others, turn)
            count += round(before)
            work += time_us * before / max(1, others)
    if sequence.background:
        for other in scheduler.above.active:
            others, time_us = _waiting(scheduler, other)
            count += others
            work += time_us
    return count, work


def _waiting(scheduler: Scheduler, tenant: Tenant) -> tuple[int, float]:
    backlogs = [b for b in tenant.waiting.values() if b.count]
    return sum(b.count for b in backlogs), sum(_work_us(scheduler, b) for b in backlogs)


def _work_us(scheduler: Scheduler, backlog: Backlog) -> float:
    """What waiting sequences will take, each as long an answer as usual, or its limit.

    As much of their prompts is expected to be in memory as of those that began lately.
    """
    if not backlog.count:
        return 0.0
    rates = scheduler.rates
    usual = rates.completion
    limit = backlog.max_tokens / backlog.count
    answer = limit if usual is None else min(usual, limit)
    return backlog.prompt_tokens * (rates.whole_prompt_us or 0.0) + backlog.count * answer * (
        rates.completion_us or 0.0
    )
