"""The bill of today as the place of costs shows it. Imported by `app.figures.reading`."""

from __future__ import annotations

from typing import Final

from app import amounts, words
from app.figures import costs as figures
from app.figures.facts import SECOND_US, Facts
from app.snapshot.cost import BudgetRow, By, Cost, CostRow, Part
from storage import budgets, costs, spending
from storage.budgets import Budget, Period, Spent, Standing
from storage.past import budgets as past_budgets
from storage.store import Session

AGAIN_US: Final = 5 * SECOND_US
"""A bill changes slowly and reads every quarter hour of the day: it is kept this long."""
_BUDGETS_US: Final = 60 * SECOND_US  # what a budget by the month needs reads the whole month


async def read(s: Session, by: str, facts: Facts) -> Cost:
    """The bill so far by what was asked for, or the one that was made a moment ago."""
    kept = facts.cost
    if kept is not None and kept[1].by == by and 0 <= facts.now_us - kept[0] < AGAIN_US:
        return kept[1]
    found = await _read(s, By(by), facts)
    facts.cost = facts.now_us, found
    return found


async def _read(s: Session, by: By, facts: Facts) -> Cost:
    now_s, settings = facts.now_us // SECOND_US, facts.price
    today = await spending.today(s, now_s, settings)
    named = await budgets.key_names(s)
    bill = today.bill
    lines = costs.lines(bill, figures.grouping(figures.By(by), named, settings.time_zone))
    known = figures.rows(bill, lines)
    parts = [Part.REQUESTS] * len(known)
    parts[-1] = Part.TOTAL
    if any(line.name is None for line in lines):
        parts[-2] = Part.IDLE
    return Cost(
        by=by,
        currency=bill.currency,
        spent=amounts.shown(today.micro, unknown=words.UNKNOWN),
        projected=amounts.shown(today.projected_micro, unknown=words.UNKNOWN),
        rows=tuple(
            CostRow(
                part=part,
                name=row.name,
                requests=row.requests,
                tokens=row.tokens,
                cost=row.cost,
                kilo=row.kilo,
                share=row.share,
            )
            for part, row in zip(parts, known, strict=True)
        ),
        budgets=await _budgets(s, facts),
        notes=(
            *(f"Not priced: {why}." for why in bill.missing),
            *(() if facts.past is None else (figures.counted_to(now_s),)),
        ),
    )


async def _budgets(s: Session, facts: Facts) -> tuple[BudgetRow, ...]:
    """All budgets, or those read in the last minute if none has changed since."""
    now_us, entry = facts.now_us, facts.entries[0].id if facts.entries else 0
    kept = facts.budgets
    if kept is not None and kept[1] == entry and 0 <= now_us - kept[0] < _BUDGETS_US:
        return kept[2]
    every = await (budgets.every(s) if facts.past is None else past_budgets.every(s, now_us))
    later = [each for each in every if each.period is Period.MONTH] if _defers(facts) else []
    wanted = [each for each in every if each not in later]
    known = await budgets.spent(
        s, now_us // SECOND_US, facts.price, wanted, facts.spent_before
    )  # fmt: skip
    found = tuple(_budget(each) for each in known) + tuple(
        _uncounted(each, facts) for each in later
    )
    if later:
        facts.spent_before.wanted = True
    else:
        facts.budgets = now_us, entry, found
    return found


def _defers(facts: Facts) -> bool:
    """Whether budgets by the month are left for the next look, so that the place opens at once.

    Those of a past moment are: their month is read by `paddock budgets list --at`.
    """
    return facts.past is not None or not facts.spent_before.wanted


def _uncounted(budget: Budget, facts: Facts) -> BudgetRow:
    _, renewed_s = budget.window(facts.now_us // SECOND_US, facts.price.time_zone)
    return BudgetRow(
        name=f"{budget.name} {budget.period.value}",
        spent=words.UNKNOWN,
        limit=amounts.shown(budget.limit_micro, unknown=words.UNKNOWN),
        share=None,
        state="being counted" if facts.past is None else "see budgets list --at",
        alarming=False,
        renewed_at_us=renewed_s * SECOND_US,
    )


def _budget(spent: Spent) -> BudgetRow:
    budget = spent.budget
    return BudgetRow(
        name=f"{budget.name} {budget.period.value}",
        spent=amounts.shown(spent.spent_micro, unknown=words.UNKNOWN),
        limit=amounts.shown(budget.limit_micro, unknown=words.UNKNOWN),
        share=figures.budget_share(spent),
        state=figures.budget_state(spent),
        alarming=spent.standing is not Standing.WITHIN,
        renewed_at_us=spent.renewed_s * SECOND_US,
    )
