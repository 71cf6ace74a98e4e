"""The controller of A/B tests: leads each one that is under way, one act at a time.

Imported by `engine.control`.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from engine.control import decisions
from engine.control.ab_tests import act, facts
from engine.control.ab_tests.decide import Do, Plan, decide
from engine.control.ab_tests.facts import Facts
from engine.control.decisions import Decision
from storage import ab_tests
from storage.store import Session

_log = structlog.get_logger("control.ab_tests")


class AbTests:
    """Leads every A/B test that is under way, oldest first."""

    name = "ab_tests"

    async def recover(self, s: Session, now_us: int) -> None:
        """Nothing to repair: each act is one transaction."""

    async def observe(self, s: Session, now_us: int) -> Sequence[Facts]:
        """The facts of each test that is under way."""
        return [await facts.read(s, each, now_us) for each in await ab_tests.under_way(s)]

    def decide(self, observed: Sequence[Facts], now_us: int) -> Decision:
        """The first plan there is; without one, the earliest time to look again."""
        waiting = f"{len(observed)} A/B tests wait."
        return decisions.first([decide(each, now_us) for each in observed], waiting)

    async def act(self, s: Session, decision: Decision, now_us: int) -> None:
        """Carry out the plan."""
        plan = decision.plan
        assert isinstance(plan, Plan)  # noqa: S101 as it was decided
        await act.carry_out(s, plan, now_us)
        if plan.do is not Do.RECORD:
            _log.info(
                "acted",
                ab_test=plan.test.id,
                service=plan.test.service,
                act=plan.do.name,
                why=plan.why.value,
                sentence=plan.sentence,
            )
