"""The state of budgets and online scores as exported series for alert rules.

A budget by the month needs the usage of the whole month: what it cost before today is kept for an
hour, or until a price changes. Reads only. Imported by `engine.metering.series_of_state`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from engine.metering.series_of_samples import Value
from storage import budgets, online_scores
from storage.budgets import Spent, Standing
from storage.home import config
from storage.online_scores import Rate
from storage.store import Session

SCORED_S: Final = 3_600
"""The time over which requests count for scores."""
_SECOND_US: Final = 1_000_000
_REFUSES: Final = "refuses"


async def values(
    s: Session, now_us: int, settings: config.Price, memory: budgets.Memory | None
) -> list[Value]:
    """The points of this moment."""
    spent = await budgets.spent(s, now_us // _SECOND_US, settings, memory=memory)
    rates = await online_scores.rates(s, now_us - SCORED_S * _SECOND_US, now_us + 1)
    return [*of_budgets(spent), *of_scores(rates)]


def of_budgets(known: Iterable[Spent]) -> Iterator[Value]:
    """The share of each that is spent, and which of its states holds."""
    for each in known:
        budget = each.budget
        labels = {"scope": budget.scope.value, "subject": budget.subject,
                  "period": budget.period.value}  # fmt: skip
        if budget.limit_micro:
            yield "paddock_budget_spent_ratio", labels, each.spent_micro / budget.limit_micro
        holds: str = each.standing.value
        if each.standing is Standing.SPENT and budget.refuse:
            holds = _REFUSES
        for state in (*(standing.value for standing in Standing), _REFUSES):
            yield "paddock_budget_state", labels | {"state": state}, float(state == holds)


def of_scores(rates: Iterable[Rate]) -> Iterator[Value]:
    """How many answers passed each check, and how many did not."""
    for rate in rates:
        labels = {"service": rate.service, "release": f"r{rate.release}", "scorer": rate.scorer}
        for result, count in (("passed", rate.passed), ("failed", rate.scored - rate.passed)):
            yield "paddock_online_scores", labels | {"result": result}, float(count)
