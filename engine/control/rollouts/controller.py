"""The controller of rollouts: leads each one that is under way, one act at a time.

Imported by `engine.control`.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from engine.control import decisions
from engine.control.decisions import Decision
from engine.control.rollouts import act, facts
from engine.control.rollouts.decide import Do, Plan, decide
from engine.control.rollouts.facts import Facts
from storage import rollouts
from storage.store import Session

_log = structlog.get_logger("control.rollouts")


class Rollouts:
    """Leads every rollout that is under way, oldest first."""

    name = "rollouts"

    async def recover(self, s: Session, now_us: int) -> None:
        """Nothing to repair: each act is one transaction."""

    async def observe(self, s: Session, now_us: int) -> Sequence[Facts]:
        """The facts of each rollout that there is something to do for, now or later."""
        return [await facts.read(s, each, now_us) for each in await rollouts.to_do(s)]

    def decide(self, observed: Sequence[Facts], now_us: int) -> Decision:
        """The first plan there is; without one, the earliest time to look again."""
        waiting = f"{len(observed)} rollouts wait."
        return decisions.first([decide(each, now_us) for each in observed], waiting)

    async def act(self, s: Session, decision: Decision, now_us: int) -> None:
        """Carry out the plan."""
        plan = decision.plan
        assert isinstance(plan, Plan)  # noqa: S101 as it was decided
        await act.carry_out(s, plan, now_us)
        if plan.do is not Do.RECORD:
            _log.info(
                "acted",
                rollout=plan.rollout.id,
                service=plan.rollout.service,
                act=plan.do.name,
                why=plan.why.value,
                sentence=plan.sentence,
            )
