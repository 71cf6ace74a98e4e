"""Who is let into the queue: what fits, what the queue can hold, what can be in time.

Judges by rates that the scheduler measured; before there are any it refuses nothing for time.
Pure; standard library alone. Imported by the scheduler.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from engine.serving.knobs import Knobs
from engine.serving.plans import Refusal
from engine.serving.sequences import Class, Sequence

if TYPE_CHECKING:
    from engine.serving.scheduler import Scheduler

_SOONEST_US: Final = 1_000


def judge(
    scheduler: Scheduler, sequence: Sequence, now_us: int
) -> tuple[Refusal | None, Sequence | None]:
    """(why not, None), or (None, who has to leave the queue for it)."""
    refusal = _impossible(scheduler, sequence)
    if refusal is not None:
        return refusal, None
    most = scheduler.sequence_tokens - sequence.prompt
    sequence.limit = max(1, min(sequence.limit, scheduler.knobs.max_tokens_cap, most))
    wait = wait_us(scheduler, sequence)
    if now_us + wait > sequence.deadline_us:
        return late(sequence, wait), None
    if not _overfull(scheduler, sequence):
        return None, None
    displaced = _displaceable(scheduler, sequence)
    return (full(sequence, scheduler.knobs, wait) if displaced is None else None), displaced


def _impossible(scheduler: Scheduler, sequence: Sequence) -> Refusal | None:
    """Why a sequence could not even be served on an idle worker."""
    if sequence.lane not in scheduler.lanes:
        message = f"no lane {sequence.lane!r} is open here; open it and send this again"
        return Refusal(sequence, "no_lane", message, 0)
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


def _overfull(scheduler: Scheduler, sequence: Sequence) -> bool:
    """Whether one more would exceed the bounds on what waits beyond the free slots."""
    queues = [q for lane in scheduler.lanes.values() for q in lane.queues.values()]
    waiting = sum(q.fresh for q in queues)
    free = max(0, scheduler.knobs.max_running - scheduler.running)
    free = min(free, scheduler.lanes[sequence.lane].slots.free)
    if waiting + 1 <= free:
        return False
    if waiting + 1 - free > scheduler.knobs.queue_limit:
        return True
    tokens = sum(q.tokens for q in queues)
    return tokens + sequence.prompt > scheduler.knobs.queue_tokens_limit


def _displaceable(scheduler: Scheduler, sequence: Sequence) -> Sequence | None:
    """Whose place a newcomer may take: a lower class's, or one of a tenant that holds more."""
    if scheduler.knobs.queue_limit == 0:
        return None
    lanes = scheduler.lanes.values()
    for klass in sorted(Class, reverse=True):
        if klass < sequence.klass:
            break
        tenant = sequence.tenant if klass == sequence.klass else None
        for lane in lanes:
            found = lane.queues[klass].displaceable(tenant)
            if found is not None and found.prompt >= sequence.prompt:
                return found
    return None


def wait_us(scheduler: Scheduler, sequence: Sequence) -> int:
    """How long a newcomer would wait for its first token, by what was measured so far.

    Those ahead and those running must leave the slots that are missing, each after the measured
    mean residence; then the prompts ahead and its own are fed at the measured cost of a step.
    """
    cost = scheduler.cost
    lane = scheduler.lanes.get(sequence.lane)
    if lane is None or not cost.known:
        return 0
    ahead = tokens = 0
    for klass, queue in lane.queues.items():
        if klass < sequence.klass:
            ahead += queue.count
            tokens += queue.tokens
        elif klass == sequence.klass:
            more, fed = queue.ahead(sequence.tenant)
            ahead += more
            tokens += fed
    yielding = 0
    if sequence.klass < Class.BACKGROUND:
        yielding = sum(s.klass == Class.BACKGROUND for s in lane.running)
    slots = min(scheduler.knobs.max_running, lane.slots.size)
    free = slots - (scheduler.running - yielding)
    missing = ahead + 1 - free
    wait = 0.0
    if missing > 0 and scheduler.residence_us.value is not None:
        wait = missing * scheduler.residence_us.value / slots
    begun = sum(s.missing for s in lane.running if not s.decoding and s.klass <= sequence.klass)
    left = begun + tokens + sequence.prompt
    budget = max(1, min(scheduler.knobs.prefill_budget, left))
    steps = math.ceil(left / budget)
    busy_lanes = sum(1 for other in scheduler.lanes.values() if other.running)
    feeding = steps * cost.step_us(min(scheduler.running, slots), budget) * max(1, busy_lanes)
    return int(max(wait, feeding))
