"""Which sequence holds which slot of a context, kept dense.

llama.cpp takes only consecutive sequence ids into one pass over the weights, so the classes above
background hold slots 0…h-1, background follows, and a hole is closed by carrying the last sequence
into it. What the KV memory has to do about it is written down in order.

Pure; standard library alone. Imported by the scheduler.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import NamedTuple

from engine.serving.sequences import Sequence


class Carry(NamedTuple):
    """Carry the memory of slot `source` to `target`; source -1: only forget what is in target."""

    source: int
    target: int


class Slots:
    """The slots of one adapter."""

    def __init__(self, size: int) -> None:
        """All free."""
        self.size = size
        self._held: list[Sequence | None] = [None] * size
        self._orders: list[Carry] = []

    def orders(self) -> tuple[Carry, ...]:
        """What the KV memory has to do now, in this order; handed out once."""
        orders = tuple(self._orders)
        self._orders.clear()
        return orders

    def release(self, sequence: Sequence) -> None:
        """Free the slot of a sequence that has ended or was parked."""
        self._held[sequence.slot] = None
        self._orders.append(Carry(-1, sequence.slot))
        sequence.slot = -1
        sequence.resident = 0

    def arrange(self, upper: Many[Sequence], lower: Many[Sequence]) -> None:
        """Give everybody a slot: `upper` first, then `lower`, without holes where that can be."""
        border = len(upper)
        total = border + len(lower)
        for sequence in upper:
            if not 0 <= sequence.slot < border:
                self._settle(sequence, 0, border, total)
        for sequence in lower:
            if not border <= sequence.slot < total:
                self._settle(sequence, border, total, total)

    def _settle(self, sequence: Sequence, low: int, high: int, total: int) -> None:
        """Bring one sequence into [low, high), moving a stranger out of there when it is full."""
        target = self._hole(low, high)
        if target is None and not 0 <= sequence.slot < total:
            target = self._hole(0, total)  # nothing better now; a later turn will tidy up
            stranger = next(
                (
                    s
                    for s in self._held[low:high]
                    if s is not None and s.class_ > sequence.class_ and low == 0
                ),
                None,
            )
            if stranger is not None and target is not None:
                freed = stranger.slot
                self._put(stranger, target)
                target = freed
        if target is not None:
            self._put(sequence, target)

    def _hole(self, low: int, high: int) -> int | None:
        return next((s for s in range(low, min(high, self.size)) if self._held[s] is None), None)

    def _put(self, sequence: Sequence, target: int) -> None:
        if sequence.slot >= 0:
            self._held[sequence.slot] = None
            self._orders.append(Carry(sequence.slot, target))
        self._held[target] = sequence
        sequence.slot = target
