"""Who is admitted to the queue: what fits, what the queue may hold, what can start in time.

Judges time by the rates that the scheduler measured. Without rates, or with nothing running, it
refuses nothing for time, so that one bad measurement is corrected by the next request.
Pure; imports the standard library only. Imported by the scheduler.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from engine.serving import places, waits
from engine.serving.sequences import Sequence

if TYPE_CHECKING:
    from engine.serving.scheduler import Scheduler

_SURE: Final = 4.0
"""A request is refused early when the places ahead are so many times too slow to become free.

Only the lengths of earlier answers tell when they do: the next may be much shorter.
"""


class Refusal(NamedTuple):
    """Why a sequence is refused; `code` and `place` as in wire.Refused."""

    sequence: Sequence
    code: str
    message: str
    retry_after_us: int
    place: int = -1


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
    wait = waits.place_us(scheduler, sequence) / _SURE + waits.prompt_us(scheduler, sequence)
    late_us = now_us + wait - sequence.deadline_us if scheduler.live else 0.0
    if late_us > 0 and late_us > waits.cached_us(scheduler, sequence):
        return late(scheduler, sequence, now_us), []
    displaced = _displaced(scheduler, sequence)
    if displaced is None:
        return full(scheduler, sequence, now_us), []
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


def too_long(
    sequence: Sequence,
    tokens: int,
    sequence_tokens: int,
    *,
    counted: bool = True,
    answered: bool = True,
) -> Refusal:
    """The prompt does not fit; what was not counted has at least so many tokens.

    `answered`: an answer would follow it.
    """
    what = "prompt and continuation have" if sequence.scored else "the prompt has"
    number = tokens if counted else f"at least {tokens}"
    message = f"{what} {number} tokens, and the context of a sequence holds {sequence_tokens}"
    if answered and not sequence.scored:
        message += ", at least one of them for the answer"
    return Refusal(sequence, "too_long", message, 0)


def full(scheduler: Scheduler, sequence: Sequence, now_us: int) -> Refusal:
    """The queue is full."""
    knobs = scheduler.knobs
    message = (
        f"the queue is full ({knobs.queue_limit} requests or "
        f"{knobs.queue_tokens_limit} prompt tokens)"
    )
    return Refusal(sequence, "queue_full", message, waits.retry_us(scheduler, sequence, now_us))


def late(scheduler: Scheduler, sequence: Sequence, now_us: int) -> Refusal:
    """The first token cannot come, or has not come, in time."""
    allowed = (sequence.deadline_us - sequence.arrived_us) / 1e6
    message = f"no first token within the {allowed:g} s that the request allows"
    return Refusal(sequence, "deadline", message, waits.retry_us(scheduler, sequence, now_us))


def _displaced(scheduler: Scheduler, sequence: Sequence) -> list[Sequence] | None:
    """What leaves the queue so that a newcomer fits its bounds; None: no room can be made.

    Background goes first, then the newcomer's own lower classes, then what other tenants hold
    beyond its own, on whatever adapters.
    """
    queues = [q for a in scheduler.adapters.values() for q in (a.above, a.below)]
    waiting = sum(q.fresh for q in queues) + 1
    adapter = scheduler.adapters[sequence.adapter]
    free = max(0, scheduler.knobs.max_running - scheduler.running)
    free = min(free, adapter.free) + places.yields(scheduler, adapter, sequence)
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
    if not sequence.background:
        yield from scheduler.below.newest()
    tenants = scheduler.tenants(background=sequence.background)
    yield from tenants.displaceable(tenants.of(sequence.tenant), sequence.class_)
