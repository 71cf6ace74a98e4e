"""The bill as people read it: a row for each group, what was idle, the total, and what is missing.

Pure: bills of `storage.costs` in, rows of words out. Imported by `app.commands` and screens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app import amounts, words
from storage import spending
from storage.budgets import Spent, Standing
from storage.costs import Bill, Line
from storage.prices import QUARTER_S
from storage.spending import Today
from storage.usage import Usage


class By(StrEnum):
    """What a line of the bill is of."""

    SERVICE = "service"
    ARM = "arm"
    TENANT = "tenant"
    KEY = "key"
    DEPLOYMENT = "deployment"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the bill; its name is "idle" or "total" where it is not of requests."""

    name: str
    requests: str
    tokens: str
    cost: str
    kilo: str
    share: str


def grouping(by: By, named: Mapping[int, str], zone: str) -> Callable[[Usage], str]:
    """The name of the line that a row of usage belongs to."""
    dates: dict[int, str] = {}

    def date(used: Usage) -> str:
        if used.quarter_s not in dates:
            dates[used.quarter_s] = spending.date(used.quarter_s, zone)
        return dates[used.quarter_s]

    def key(used: Usage) -> str:
        return named.get(used.key_id, f"key {used.key_id}" if used.key_id else "the box itself")

    names: dict[By, Callable[[Usage], str]] = {
        By.SERVICE: lambda used: used.service,
        By.ARM: lambda used: f"{used.service}/r{used.release}",
        By.TENANT: lambda used: used.tenant,
        By.KEY: key,
        By.DEPLOYMENT: lambda used: used.deployment,
        By.DAY: date,
    }
    return names[by]


def notes(bill: Bill, today: Today) -> list[str]:
    """What is said below the table: what has no price, and what today will come to."""
    said = [f"Not priced: {why}." for why in bill.missing]
    if today.projected_micro is not None:
        spent = words.money(today.micro, bill.currency)
        whole = words.money(today.projected_micro, bill.currency)
        said.append(f"Today so far {spent}; {whole} by its end at the rate of the last hour.")
    return said


def counted_to(at_s: int) -> str:
    """Of a past moment: up to when its costs are counted, and by which prices."""
    end_s = (at_s // QUARTER_S + 1) * QUARTER_S
    return (
        f"Costs are kept by the quarter hour: counted up to {words.clock(end_s * 1_000_000)}, by "
        "the prices that are set for that time."
    )


def rows(bill: Bill, found: Sequence[Line]) -> list[Row]:
    """The rows of a bill, the dearest first, idle time and the total last."""
    made = []
    for line in sorted(found, key=lambda each: (each.name is None, -(each.micro or 0))):
        tokens = line.prompt_tokens + line.completion_tokens
        share = line.micro / bill.micro if line.micro is not None and bill.micro else None
        made.append(
            Row(
                "idle" if line.name is None else line.name,
                "" if line.name is None else words.count(line.requests),
                "" if line.name is None else words.count(tokens),
                amounts.shown(line.micro, unknown="no price") + ("+" if line.unpriced else ""),
                "" if line.name is None else amounts.shown(line.kilo_micro, unknown=words.UNKNOWN),
                words.percent(share),
            )
        )
    total = amounts.shown(bill.micro if bill.priced else None, unknown="no price")
    known = [line for line in found if line.name is not None]
    made.append(
        Row(
            "total",
            words.count(sum(line.requests for line in known)),
            words.count(sum(line.prompt_tokens + line.completion_tokens for line in known)),
            total + ("+" if any(line.unpriced for line in known) else ""),
            "",
            words.percent(1.0 if bill.priced and bill.micro else None),
        )
    )
    return made


def budget_share(spent: Spent) -> float | None:
    """What of a budget is spent, as a share of one; None where its limit is zero."""
    limit = spent.budget.limit_micro
    return spent.spent_micro / limit if limit else None


def budget_state(spent: Spent) -> str:
    """How far a budget is spent, and what follows."""
    if spent.standing is not Standing.SPENT:
        return spent.standing.value
    return "spent: refused" if spent.budget.refuse else "spent: warns only"
