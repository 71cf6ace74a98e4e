"""Which sequence holds which slot of a context; slots are kept dense.

llama.cpp takes only consecutive sequence ids into one pass over the weights, so the classes above
background hold slots 0…h-1, background follows, and a hole is closed by moving the last sequence
into it. The moves that the KV memory must make are recorded in order.

Pure; imports the standard library only. Imported by the scheduler.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import NamedTuple

from engine.serving.sequences import Sequence


class Move(NamedTuple):
    """Move the memory of slot `source` to `target`; source -1: only clear `target`."""

    source: int
    target: int


class Slots:
    """The slots of one context."""

    def __init__(self, size: int) -> None:
        """All free."""
        self.size = size
        self._held: list[Sequence | None] = [None] * size
        self._moves: list[Move] = []

    def take_moves(self) -> tuple[Move, ...]:
        """What the KV memory has to do now, in this order; returned once."""
        moves = tuple(self._moves)
        self._moves.clear()
        return moves

    def release(self, sequence: Sequence) -> None:
        """Free the slot of a sequence that has ended or was parked, unless it had none yet."""
        if sequence.slot < 0:
            return
        self._held[sequence.slot] = None
        self._moves.append(Move(-1, sequence.slot))
        sequence.slot = -1
        sequence.resident = 0

    def arrange(self, foreground: Many[Sequence], background: Many[Sequence]) -> None:
        """Give every sequence a slot, foreground first, without holes where that is possible."""
        border = len(foreground)
        total = border + len(background)
        for sequence in foreground:
            if not 0 <= sequence.slot < border:
                self._settle(sequence, 0, border, total)
        for sequence in background:
            if not border <= sequence.slot < total:
                self._settle(sequence, border, total, total)

    def _settle(self, sequence: Sequence, low: int, high: int, total: int) -> None:
        """Put one sequence into [low, high), moving out a background one when that is full."""
        target = self._hole(low, high)
        if target is None and not 0 <= sequence.slot < total:
            target = self._hole(0, total)  # nothing better now; a later step will tidy up
            other = next(
                (
                    held
                    for held in self._held[low:high]
                    if held is not None and held.class_ > sequence.class_ and low == 0
                ),
                None,
            )
            if other is not None and target is not None:
                freed = other.slot
                self._put(other, target)
                target = freed
        if target is not None:
            self._put(sequence, target)

    def _hole(self, low: int, high: int) -> int | None:
        return next((s for s in range(low, min(high, self.size)) if self._held[s] is None), None)

    def _put(self, sequence: Sequence, target: int) -> None:
        if sequence.slot >= 0:
            self._held[sequence.slot] = None
            self._moves.append(Move(sequence.slot, target))
        self._held[target] = sequence
        sequence.slot = target
