"""One budget in its day or month: what is spent, and what requests under way have reserved.

Pure; money in pico-units. Imported by `engine.metering.budgets`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from storage import costs
from storage.budgets import Budget, Standing


@dataclass(slots=True)
class Counter:
    """One budget in its current window; money in pico-units."""

    budget: Budget
    begin_s: int
    end_s: int
    closed: int = 0
    """Of the quarter hours of this window that are over: they are not read again."""
    stored: int = 0
    ended: int = 0
    reserved: dict[str, int] = field(default_factory=dict)

    @property
    def spent(self) -> int:
        """By requests that have ended."""
        return self.stored + self.ended

    @property
    def standing(self) -> Standing:
        """How far it is spent."""
        return self.budget.standing(costs.micro(self.spent))

    def full(self) -> bool:
        """Whether it is spent."""
        return costs.micro(self.spent) >= self.budget.limit_micro

    def fits(self, pico: int) -> bool:
        """Whether a request that may cost so much can begin.

        What is spent and reserved stays within the limit. A request that is alone may pass it, or
        else a small budget would never admit a long one.
        """
        if self.full():
            return False
        committed = self.spent + sum(self.reserved.values()) + pico
        return not self.reserved or committed <= self.budget.limit_micro * costs.PICO

    def settle(self, id: str, pico: int) -> None:
        """A request has ended and cost so much."""
        self.reserved.pop(id, None)
        self.ended += pico
