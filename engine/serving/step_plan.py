"""What one step computes, and how it is filled within its limits.

Imports the standard library only. Imported by the scheduler, and by what carries a plan out.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.serving.admission import Refusal
from engine.serving.sequences import Sequence
from engine.serving.slots import Move
from engine.serving.step_cost import Cost


class Row(NamedTuple):
    """Compute `tokens` known tokens of a sequence from `start`; the last `outputs` give logits."""

    sequence: Sequence
    start: int
    tokens: int
    outputs: int


class Plan(NamedTuple):
    """One step: first the moves, then the rows, by slot; without rows there is no step.

    `decode` rows feed the latest token; `prefill` counts the other tokens. `contended`: higher
    classes have work, so that background is charged for its time. It was the turn of `tenant`.
    """

    adapter: str
    tenant: str
    moves: tuple[Move, ...]
    rows: tuple[Row, ...]
    decode: int
    prefill: int
    contended: bool
    refusals: tuple[Refusal, ...]


class StepFilling:
    """A step while it is filled: its rows, and what is left of its limits.

    `spare_us` is the time that background may still take.
    """

    def __init__(self, cost: Cost, *, room: int, scored_outputs: int, spare_us: float) -> None:
        self._cost = cost
        self._scored_outputs = scored_outputs
        self.rows: list[Row] = []
        self.budget = self._most = room
        self.spare_us = spare_us

    def decode(self, sequence: Sequence) -> bool:
        """Add a decode row, unless background's time is used up."""
        if sequence.background:
            self.spare_us -= self._cost.decode
            if self.spare_us < 0:
                return False
        self.rows.append(Row(sequence, sequence.resident, 1, 1))
        return True

    def open(self, budget: int) -> None:
        """Let prompts take so many tokens in all."""
        self.budget = self._most = budget

    def prefill(self, sequence: Sequence) -> None:
        """Add as much of a prompt as the limits allow.

        One that a step could hold is not cut: the rest of it would lengthen another step, too, and
        a pass over the weights takes the same number of tokens of each sequence.
        """
        fits = sequence.missing <= self._most and not sequence.background
        if fits and self.budget < sequence.missing:
            return
        count = min(sequence.missing, self.budget, sequence.within(self._scored_outputs))
        if sequence.background:
            each = self._cost.prefill
            if each > 0 and self.spare_us < count * each:
                count = max(int(self.spare_us / each), 0)
            self.spare_us -= count * each
        if count > 0:
            outputs = sequence.outputs(count)
            self.rows.append(Row(sequence, sequence.resident, count, outputs))
            if sequence.scored:
                self._scored_outputs -= outputs
        self.budget -= count
