"""Steps that need no decision: all that there is decodes, in place, for one tenant.

Then no turn is to be given, no place to be taken, no prompt to be fitted in and no deadline to be
missed: until something arrives, ends or is set, each step computes one more token of the same
sequences. Their time is charged some steps later, since nothing reads it before. Decides nothing
otherwise. Pure; imports the standard library only. Imported by the scheduler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.serving import charges, turns
from engine.serving.step_plan import Plan, Row

if TYPE_CHECKING:
    from engine.serving.scheduler import Scheduler

_TOGETHER: Final = 8
"""So many steps are charged at once: after the first the code and its data are in the caches."""


class Steady:
    """The plan of the latest step, if it lasts, and the microseconds that are not charged yet."""

    def __init__(self, scheduler: Scheduler) -> None:
        """Nothing lasts yet."""
        self._scheduler = scheduler
        self._plan: Plan | None = None
        self._uncharged: list[int] = []

    def next(self) -> Plan | None:
        """The next step, if it needs no decision."""
        plan = self._plan
        if plan is not None:
            rows = tuple(Row(s, s.resident, 1, 1) for s, _, _, _ in plan.rows)
            plan = Plan(plan.adapter, plan.tenant, (), rows, plan.decode, 0, plan.contended, ())
            self._plan = plan
        return plan

    def follow(self, plan: Plan) -> None:
        """A step was decided on."""
        self._plan = plan if lasts(self._scheduler, plan) else None

    def settle(self, plan: Plan, busy_us: int, *, ends: bool) -> None:
        """A step was computed; with `ends` of sequences it is charged at once."""
        waits = plan is self._plan and self._scheduler.cost.known and not ends
        if waits and len(self._uncharged) < _TOGETHER - 1:
            self._uncharged.append(busy_us)
        else:
            self._charge()
            charges.account(self._scheduler, plan, busy_us)

    def interrupt(self) -> None:
        """Something arrives, ends or is set: charge what was computed, and decide anew."""
        self._charge()
        self._plan = None

    def _charge(self) -> None:
        if self._plan is not None:
            for busy_us in self._uncharged:
                charges.account(self._scheduler, self._plan, busy_us)
            self._uncharged.clear()


def lasts(scheduler: Scheduler, plan: Plan) -> bool:
    """Whether deciding again would give the same sequences, as long as nothing interrupts.

    Not among several tenants, who take turns; nor with background, which has a credit of time; nor
    before the sequences have moved together, since a hole between them is closed some steps later.
    """
    rows = plan.rows
    return (
        bool(rows)
        and plan.decode == len(rows) == len(scheduler.live)
        and not plan.prefill
        and not plan.moves
        and rows[-1].sequence.slot - rows[0].sequence.slot == len(rows) - 1
        and not any(row.sequence.background for row in rows)
        and not turns.shared(scheduler)
    )
