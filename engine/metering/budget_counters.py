"""One budget in its day or month: what is spent, and what running requests have reserved.

Pure; money in pico-units. Imported by `engine.metering.budgets`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from storage import costs
from storage.budgets import Budget, Standing
from storage.costs import Charge
from storage.prices import QUARTER_S


@dataclass(slots=True)
class Counter:
    """One budget in its current window; money in pico-units."""

    budget: Budget
    begin_s: int
    end_s: int
    closed: int = 0
    """Spent in the quarter hours of this window that are over, which are not read again."""
    stored: int = 0
    ended: int = 0
    reserved: dict[str, int] = field(default_factory=dict)

    @property
    def spent(self) -> int:
        """Spent by requests that have ended."""
        return self.stored + self.ended

    @property
    def standing(self) -> Standing:
        """How far it is spent."""
        return self.budget.standing(costs.micro(self.spent))

    def full(self) -> bool:
        """Whether the limit is reached."""
        return costs.micro(self.spent) >= self.budget.limit_micro

    def fits(self, pico: int) -> bool:
        """Whether a request that may cost so much can begin.

        What is spent and reserved has to stay within the limit. A request may exceed it while
        nothing else is reserved, or a small budget would never admit a long one.
        """
        if self.full():
            return False
        committed = self.spent + sum(self.reserved.values()) + pico
        return not self.reserved or committed <= self.budget.limit_micro * costs.PICO

    def settle(self, id: str, pico: int) -> None:
        """Count a request that has ended and cost so much."""
        self.reserved.pop(id, None)
        self.ended += pico

    def follow(self, last: Counter, *, ended_before: int, whole: bool) -> None:
        """Take over what the last counter of this budget knows.

        `ended_before` is what it had counted when the store began to be read; requests that have
        ended since are not in the store's figures. `whole`: all of the window was read again.
        """
        self.reserved = last.reserved
        if last.begin_s == self.begin_s:
            self.ended = last.ended - ended_before
            self.closed = 0 if whole else last.closed

    def charge(self, charges: Iterable[Charge], key_names: dict[int, str], closed_s: int) -> None:
        """Count the charges that the store has since the closed quarter hours.

        Those before `closed_s` are closed from now on.
        """
        first_s = self.begin_s // QUARTER_S * QUARTER_S
        own = [each for each in charges if each.usage.quarter_s >= first_s]
        settled = [each for each in own if each.usage.quarter_s < closed_s]
        self.stored = self.closed + self.budget.spent_pico(own, key_names)
        self.closed += self.budget.spent_pico(settled, key_names)
