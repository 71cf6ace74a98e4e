"""When prompts wait a few steps for one another, so that streams seldom stall.

A step with prompts delays the next token of every stream, whether it holds one prompt or eight.
Prompts that arrive while others decode are therefore computed together: at most every
`prefill_every` steps, unless waiting would gain little or take long. Pure; imports the standard
library only. Imported by the scheduler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.serving import turns
from engine.serving.places import AdapterState

if TYPE_CHECKING:
    from engine.serving.scheduler import Scheduler

_LONGEST_US: Final = 1_000_000
"""Prompts wait no longer than this after the last step with prompts."""
_MANY: Final = 0.33
"""They do not wait when there are so many of them for each stream that would stall."""
_HIDDEN: Final = 1.2
"""A step that takes at most so many times one without prompts is no stall."""


def waits(scheduler: Scheduler, adapter: AdapterState, now_us: int) -> bool:
    """Whether the prompts of this adapter wait for a later step.

    Not if they fill a step, nor among several tenants, where none waits for another's prompts;
    nor while costs are not known, or if a deadline is near.
    """
    cost, knobs = scheduler.cost, scheduler.knobs
    waited_us = now_us - adapter.stalled_us
    if adapter.smooth + 1 >= knobs.prefill_every or waited_us >= _LONGEST_US or not cost.known:
        return False
    rows = sum(s.decoding and not s.background for s in adapter.running)
    begun = [s for s in adapter.running if s.reading and not s.background]
    places = min(knobs.max_running - scheduler.running, adapter.free)
    count = len(begun) + min(adapter.above.count, places)
    if not count or count >= _MANY * rows or turns.shared(scheduler):
        return False
    tokens = sum(s.missing for s in begun) + adapter.above.tokens
    if tokens >= turns.prompt_tokens(scheduler, rows):
        return False
    stalled_us = cost.step_us(rows, tokens) + cost.fixed
    if stalled_us <= _HIDDEN * cost.step_us(rows, 0):
        return False
    return scheduler.next_deadline_us() > now_us + _LONGEST_US - waited_us + 2 * stalled_us
