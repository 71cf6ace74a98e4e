"""One sequence as the scheduler sees it: counts and moments, never tokens or text.

Imports the standard library alone. Imported by the scheduler and the worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final


class Class(IntEnum):
    """Who goes first; background uses what the others leave."""

    INTERACTIVE = 0
    BATCH = 1
    BACKGROUND = 2


class State(Enum):
    """Where a sequence stands; a crash of the worker forgets them all, the gateway repeats them."""

    WAITING = "in the queue"
    RUNNING = "holds a slot"
    PARKED = "gave its slot to a higher class; waits to be computed anew"
    ENDED = "finished, cancelled or refused; never moves again"


MOVES: Final = {
    State.WAITING: frozenset({State.RUNNING, State.ENDED}),
    State.RUNNING: frozenset({State.PARKED, State.ENDED}),
    State.PARKED: frozenset({State.RUNNING, State.ENDED}),
    State.ENDED: frozenset[State](),
}


class IllegalMove(Exception):
    """A sequence was moved where its state does not lead: a fault of the scheduler."""


@dataclass(slots=True, eq=False)
class Sequence:
    """Counts are tokens, times are microseconds of one clock.

    `prompt` tokens came in, `drawn` were produced, `resident` of both are in the KV memory of
    `slot`. `limit` bounds `drawn`; `deadline_us` bounds the moment of the first token.
    """

    id: int
    adapter: str
    class_: Class
    tenant: str
    prompt: int
    limit: int
    arrived_us: int
    deadline_us: int
    state: State = State.WAITING
    slot: int = -1
    completion_tokens: int = 0
    resident: int = 0
    started_us: int = -1
    first_us: int = -1
    busy_us: int = 0

    @property
    def missing(self) -> int:
        """Known tokens that are not in the KV memory yet; 1 while decoding."""
        return self.prompt + self.completion_tokens - self.resident

    @property
    def decoding(self) -> bool:
        """Whether it only lacks the token that it drew last."""
        return self.completion_tokens > 0 and self.missing == 1

    def move(self, state: State) -> None:
        """Change the state along MOVES."""
        if state not in MOVES[self.state]:
            raise IllegalMove(f"sequence {self.id}: {self.state.name} -> {state.name}")
        self.state = state
