"""Who is admitted to the queue: what fits, what the queue may hold, what can start in time.

Judges time by the rates that the scheduler measured. Without rates, or with nothing running, it
refuses nothing for time, so that one bad measurement is corrected by the next request.
Pure; imports the standard library only. Imported by the scheduler.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from engine.serving.knobs import Knobs
from engine.serving.sequences import Class, Sequence

if TYPE_CHECKING:
    from engine.serving.scheduler import Scheduler

_MIN_RETRY_US: Final = 1_000


class Refusal(NamedTuple):
    """Why a sequence is refused; `code` as in wire.Refused."""

    sequence: Sequence
    code: str
    message: str
    retry_after_us: int


def judge(
    scheduler: Scheduler, sequence: Sequence, now_us: int
) -> tuple[Refusal | None, list[Sequence]]:
    """(refusal, []), or (None, the sequences that it displaces from the queue)."""
    refusal = _impossible(scheduler, sequence)
    if refusal is not None:
        return refusal, []
    room = scheduler.sequence_tokens - sequence.prompt_tokens
    limit = min(sequence.max_tokens, scheduler.knobs.max_tokens_cap, room)
    sequence.max_tokens = 0 if sequence.scored else max(1, limit)
    wait = wait_us(scheduler, sequence)
    if scheduler.live and now_us + wait > sequence.deadline_us:
        return late(sequence, wait), []
    displaced = _displaced(scheduler, sequence)
    if displaced is None:
        return full(sequence, scheduler.knobs, wait), []
    return None, displaced


def _impossible(scheduler: Scheduler, sequence: Sequence) -> Refusal | None:
    """Why a sequence could not be served even by an idle worker."""
    if sequence.adapter not in scheduler.adapters:
        message = f"adapter {sequence.adapter!r} is not loaded; load it and send this again"
        return Refusal(sequence, "no_adapter", message, 0)
    if sequence.prompt_tokens <= 0:
        return Refusal(sequence, "empty", "the prompt holds no tokens", 0)
    if sequence.prompt_tokens + (not sequence.scored) > scheduler.sequence_tokens:
        return too_long(sequence, sequence.prompt_tokens, scheduler.sequence_tokens)
    return None


def too_long(sequence: Sequence, tokens: int, sequence_tokens: int) -> Refusal:
    """The prompt does not fit."""
    what = "prompt and continuation have" if sequence.scored else "the prompt has"
    message = f"{what} {tokens} tokens, and the context of a sequence holds {sequence_tokens}"
    if not sequence.scored:
        message += ", at least one of them for the answer"
    return Refusal(sequence, "too_long", message, 0)


def full(sequence: Sequence, knobs: Knobs, wait: int) -> Refusal:
    """The queue is full."""
    message = (
        f"the queue is full ({knobs.queue_limit} requests or "
        f"{knobs.queue_tokens_limit} prompt tokens)"
    )
    return Refusal(sequence, "queue_full", message, max(wait, _MIN_RETRY_US))


def late(sequence: Sequence, wait: int) -> Refusal:
    """The first token cannot come, or has not come, in time."""
    allowed = (sequence.deadline_us - sequence.arrived_us) / 1e6
    message = f"no first token within the {allowed:g} s that the request allows"
    return Refusal(sequence, "deadline", message, max(wait, _MIN_RETRY_US))


def _displaced(scheduler: Scheduler, sequence: Sequence) -> list[Sequence] | None:
    """Who leaves the queue so that a newcomer fits its bounds; None: no room can be made.

    Lower classes go first, as many as it takes; within its own class only what a tenant holds
    beyond the newcomer's tenant.
    """
    queues = [q for adapter in scheduler.adapters.values() for q in adapter.queues.values()]
    waiting = sum(q.fresh for q in queues) + 1
    free = max(0, scheduler.knobs.max_running - scheduler.running)
    free = min(free, scheduler.adapters[sequence.adapter].free) + _yielding(scheduler, sequence)
    count = waiting - free - scheduler.knobs.queue_limit
    tokens = sum(q.tokens for q in queues) + sequence.prompt_tokens
    tokens -= scheduler.knobs.queue_tokens_limit
    if waiting <= free or (count <= 0 and tokens <= 0):
        return []
    displaced: list[Sequence] = []
    for other in _displaceable(scheduler, sequence):
        displaced.append(other)
        count -= 1
        tokens -= other.prompt_tokens
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
    """How many sequences running on its adapter would give their slots to a newcomer."""
    if sequence.background:
        return 0
    return sum(s.background for s in scheduler.adapters[sequence.adapter].running)


def wait_us(scheduler: Scheduler, sequence: Sequence) -> int:
    """How long a newcomer would wait for its first token, by what was measured so far.

    The sequences ahead and those running must leave the missing slots, each after the mean measured
    residence; then the prompts ahead and its own are fed at the measured cost of a step.
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
    left = begun + tokens + sequence.prompt_tokens
    budget = max(1, min(scheduler.knobs.prefill_budget, left))
    steps = math.ceil(left / budget)
    sharing = sum(1 for other in scheduler.adapters.values() if other.running)
    feeding = steps * cost.step_us(min(scheduler.running, slots), budget) * max(1, sharing)
    return int(max(wait, feeding))
