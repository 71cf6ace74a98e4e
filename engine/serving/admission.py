"""Who is let into the queue: what fits, what the queue can hold, what can be in time.

Judges by rates that the scheduler measured. Before there are any, and when nothing is under way,
it refuses nothing for time: a rate that was once measured badly is put right by trying.
Pure; standard library alone. Imported by the scheduler.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from engine.serving.knobs import Knobs
from engine.serving.sequences import Class, Sequence
from engine.serving.step_plan import Refusal

if TYPE_CHECKING:
    from engine.serving.scheduler import Scheduler

_SOONEST_US: Final = 1_000


def judge(
    scheduler: Scheduler, sequence: Sequence, now_us: int
) -> tuple[Refusal | None, list[Sequence]]:
    """(why not, []), or (None, who has to leave the queue for it)."""
    refusal = _impossible(scheduler, sequence)
    if refusal is not None:
        return refusal, []
    most = scheduler.sequence_tokens - sequence.prompt
    sequence.limit = max(1, min(sequence.limit, scheduler.knobs.max_tokens_cap, most))
    wait = wait_us(scheduler, sequence)
    if scheduler.live and now_us + wait > sequence.deadline_us:
        return late(sequence, wait), []
    displaced = _displaced(scheduler, sequence)
    if displaced is None:
        return full(sequence, scheduler.knobs, wait), []
    return None, displaced


def _impossible(scheduler: Scheduler, sequence: Sequence) -> Refusal | None:
    """Why a sequence could not even be served on an idle worker."""
    if sequence.adapter not in scheduler.adapters:
        message = f"no adapter {sequence.adapter!r} is open here; open it and send this again"
        return Refusal(sequence, "no_adapter", message, 0)
    if sequence.prompt <= 0:
        return Refusal(sequence, "empty", "the prompt holds no tokens", 0)
    if sequence.prompt >= scheduler.sequence_tokens:
        return too_long(sequence, sequence.prompt, scheduler.sequence_tokens)
    return None


def too_long(sequence: Sequence, tokens: int, most: int) -> Refusal:
    """The prompt alone does not fit."""
    message = f"the prompt has {tokens} tokens, and the context of a sequence holds {most}"
    message += ", at least one of them for the answer"
    return Refusal(sequence, "too_long", message, 0)


def full(sequence: Sequence, knobs: Knobs, wait: int) -> Refusal:
    """The queue holds all it may."""
    message = (
        f"the queue is full ({knobs.queue_limit} requests or "
        f"{knobs.queue_tokens_limit} prompt tokens)"
    )
    return Refusal(sequence, "queue_full", message, max(wait, _SOONEST_US))


def late(sequence: Sequence, wait: int) -> Refusal:
    """The first token cannot come, or has not come, in time."""
    allowed = (sequence.deadline_us - sequence.arrived_us) / 1e6
    message = f"no first token within the {allowed:g} s that the request allows"
    return Refusal(sequence, "deadline", message, max(wait, _SOONEST_US))


def _displaced(scheduler: Scheduler, sequence: Sequence) -> list[Sequence] | None:
    """Who leaves the queue so that a newcomer stays within its bounds; None: it cannot.

    Those of lower classes go first, as many as it takes; of its own class only whom a tenant holds
    beyond what the newcomer's tenant does.
    """
    queues = [q for adapter in scheduler.adapters.values() for q in adapter.queues.values()]
    waiting = sum(q.fresh for q in queues) + 1
    free = max(0, scheduler.knobs.max_running - scheduler.running)
    free = min(free, scheduler.adapters[sequence.adapter].free) + _yielding(scheduler, sequence)
    count = waiting - free - scheduler.knobs.queue_limit
    tokens = sum(q.tokens for q in queues) + sequence.prompt - scheduler.knobs.queue_tokens_limit
    if waiting <= free or (count <= 0 and tokens <= 0):
        return []
    displaced: list[Sequence] = []
    for other in _displaceable(scheduler, sequence):
        displaced.append(other)
        count -= 1
        tokens -= other.prompt
        if count <= 0 and tokens <= 0:
            return displaced
    return None


def _displaceable(scheduler: Scheduler, sequence: Sequence) -> Iterator[Sequence]:
    """Whose places a newcomer may take, the least entitled first."""
    for class_ in sorted(Class, reverse=True):
        if class_ < sequence.class_:
            return
        tenant = sequence.tenant if class_ == sequence.class_ else None
        for adapter in scheduler.adapters.values():
            yield from adapter.queues[class_].displaceable(tenant)


def _yielding(scheduler: Scheduler, sequence: Sequence) -> int:
    """How many of those that run in its adapter would give their slots to a newcomer."""
    if sequence.class_ == Class.BACKGROUND:
        return 0
    return sum(s.class_ == Class.BACKGROUND for s in scheduler.adapters[sequence.adapter].running)


def wait_us(scheduler: Scheduler, sequence: Sequence) -> int:
    """How long a newcomer would wait for its first token, by what was measured so far.

    Those ahead and those running must leave the slots that are missing, each after the measured
    mean residence; then the prompts ahead and its own are fed at the measured cost of a step.
    """
    cost = scheduler.cost
    adapter = scheduler.adapters.get(sequence.adapter)
    if adapter is None or not cost.known:
        return 0
    ahead = tokens = 0
    for class_, queue in adapter.queues.items():
        if class_ < sequence.class_:
            ahead += queue.count
            tokens += queue.tokens
        elif class_ == sequence.class_:
            more, fed = queue.ahead(sequence.tenant)
            ahead += more
            tokens += fed
    slots = min(scheduler.knobs.max_running, adapter.slots.size)
    free = slots - (scheduler.running - _yielding(scheduler, sequence))
    missing = ahead + 1 - free
    wait = 0.0
    if missing > 0 and scheduler.residence_us.value is not None:
        wait = missing * scheduler.residence_us.value / slots
    begun = sum(
        s.missing for s in adapter.running if not s.decoding and s.class_ <= sequence.class_
    )
    left = begun + tokens + sequence.prompt
    budget = max(1, min(scheduler.knobs.prefill_budget, left))
    steps = math.ceil(left / budget)
    busy_adapters = sum(1 for other in scheduler.adapters.values() if other.running)
    feeding = steps * cost.step_us(min(scheduler.running, slots), budget) * max(1, busy_adapters)
    return int(max(wait, feeding))
