"""One sequence as the scheduler sees it: counts and times. Its tokens only the prefix cache reads.

Imports the standard library only. Imported by the scheduler and the worker.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final


class Class(IntEnum):
    """Priority classes; background uses what the others leave."""

    INTERACTIVE = 0
    BATCH = 1
    BACKGROUND = 2


class State(Enum):
    """The life of a sequence; a crash of the worker loses them all, and the gateway resends."""

    WAITING = "in the queue"
    RUNNING = "holds a slot"
    PARKED = "gave its slot to a higher class or another tenant; waits to be recomputed"
    ENDED = "finished, cancelled or refused; final"


MOVES: Final = {
    State.WAITING: frozenset({State.RUNNING, State.ENDED}),
    State.RUNNING: frozenset({State.PARKED, State.ENDED}),
    State.PARKED: frozenset({State.RUNNING, State.ENDED}),
    State.ENDED: frozenset[State](),
}


class IllegalMove(Exception):
    """A sequence was moved against MOVES: a fault of the scheduler."""


@dataclass(slots=True, eq=False)
class Sequence:
    """Counts are tokens, times are microseconds of one clock.

    `resident` of the known tokens (prompt and completion) are in the KV memory of `slot`.
    `max_tokens` bounds `completion_tokens`; `deadline_us` bounds the time of the first token. The
    logits of the last `scored` prompt tokens are wanted; such a sequence generates nothing and ends
    when its prompt is computed. Sequences of one request have the same `request`. `parks` counts
    how often it was parked; its tenant was charged `prepaid_us` for what is still to compute. A
    `short` one may go ahead on its tenant's credit (`leads`).

    `tokens` are all known ones; the memory of sequences with another `scope` is never reused.
    `cached` prompt tokens were in memory when it began, -1 before that. One that `awaits` another
    runs without a slot, until so many tokens of that one are resident.
    """

    id: int
    adapter: str
    class_: Class
    tenant: str
    prompt_tokens: int
    max_tokens: int
    arrived_us: int
    deadline_us: int
    scored: int = 0
    state: State = State.WAITING
    slot: int = -1
    completion_tokens: int = 0
    resident: int = 0
    started_us: int = -1
    first_us: int = -1
    busy_us: int = 0
    request: int = 0
    parks: int = 0
    prepaid_us: float = 0.0
    short: bool = False
    tokens: Many[int] = ()
    scope: str = ""
    cached: int = -1
    awaits: tuple[Sequence, int] | None = None

    @property
    def missing(self) -> int:
        """Known tokens that are not in the KV memory yet; 1 while decoding."""
        return self.prompt_tokens + self.completion_tokens - self.resident

    @property
    def decoding(self) -> bool:
        """Whether only the latest token is missing."""
        return self.completion_tokens > 0 and self.missing == 1

    @property
    def reading(self) -> bool:
        """Whether it has tokens to compute before the latest, and waits for no other sequence."""
        return not self.decoding and self.awaits is None

    @property
    def background(self) -> bool:
        """Whether it only uses what the other classes leave."""
        return self.class_ is Class.BACKGROUND

    def outputs(self, tokens: int) -> int:
        """How many logits rows computing the next `tokens` gives."""
        end = self.resident + tokens
        if self.scored:
            return max(0, end - max(self.resident, self.prompt_tokens - self.scored))
        return int(end == self.prompt_tokens + self.completion_tokens)

    def within(self, outputs: int) -> int:
        """How many of the next tokens give at most so many logits rows."""
        if not self.scored:
            return self.missing
        return max(0, self.prompt_tokens - self.scored - self.resident) + outputs

    def move(self, state: State) -> None:
        """Change the state along MOVES."""
        if state not in MOVES[self.state]:
            raise IllegalMove(f"sequence {self.id}: {self.state.name} -> {state.name}")
        self.state = state
