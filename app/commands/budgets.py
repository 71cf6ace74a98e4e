"""`paddock budgets`: what keys, services and tenants may cost in a day or a month."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from app import amounts, listing, moments, session, words
from app.commands import options
from app.figures import costs as figures
from app.listing import Column
from storage import budgets
from storage.budgets import WARN_PERCENT, Period, Scope, Spent
from storage.home import clock, config
from storage.past import budgets as past_budgets

app = options.group()

Of = Annotated[
    Scope, typer.Argument(metavar="key|service|tenant", help="Of what.", case_sensitive=False)
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Which one.")]
Per = Annotated[Period, typer.Option("--per", help="When it is renewed.", case_sensitive=False)]


@app.command()
async def set(
    scope: Of,
    name: Name,
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="In the box's currency: 10.")],
    period: Per = Period.DAY,
    warn: Annotated[
        int, typer.Option("--warn", metavar="PERCENT", min=1, max=100, help="Warn from there on.")
    ] = WARN_PERCENT,
    warn_only: Annotated[
        bool, typer.Option("--warn-only", help="Do not refuse requests when it is spent.")
    ] = False,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Limit the cost of a key, service or tenant. What the day has cost already counts."""
    limit = amounts.micro(amount)
    then = "only warned about" if warn_only else "refused (429) until it is renewed"
    effect = (
        f"Budget of {scope.value} {name}: {amounts.shown(limit, unknown='')} a {period.value}; "
        f"further requests are {then}"
    )
    agreed = session.agreed("budgets.set", name, effect, reason, yes=yes)
    arguments: dict[str, object] = {
        "limit_micro": limit,
        "period": period.value,
        "warn_percent": warn,
        "refuse": not warn_only,
    }
    target = f"{scope.value}/{name}"
    done = await session.ask("budgets.set", target, arguments, reason=agreed.reason)
    session.report(done, as_json=as_json)


@app.command()
async def remove(
    scope: Of,
    name: Name,
    period: Per = Period.DAY,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Remove a budget and its warnings."""
    effect = f"The budget of {scope.value} {name} by the {period.value} is removed"
    agreed = session.agreed("budgets.remove", name, effect, reason, yes=yes)
    target = f"{scope.value}/{name}"
    arguments: dict[str, object] = {"period": period.value}
    done = await session.ask("budgets.remove", target, arguments, reason=agreed.reason)
    session.report(done, as_json=as_json)


def _money(micro: int, of: Spent) -> str:
    return f"{amounts.shown(micro, unknown='')} {of.currency}"


COLUMNS: Final[tuple[Column[Spent], ...]] = (
    Column("BUDGET", lambda spent: words.safe(spent.budget.name)),
    Column("PER", lambda spent: spent.budget.period.value),
    Column("LIMIT", lambda spent: _money(spent.budget.limit_micro, spent), right=True),
    Column("SPENT", lambda spent: _money(spent.spent_micro, spent), right=True),
    Column("SHARE", lambda spent: words.percent(figures.budget_share(spent)), right=True),
    Column("STATE", figures.budget_state),
    Column("RENEWED", lambda spent: words.clock(spent.renewed_s * 1_000_000)),
    Column("NOT PRICED", lambda spent: ", ".join(spent.missing) or "nothing", below=True),
)


@app.command("list")
async def every(at: options.At = None, as_json: options.Json = False) -> None:
    """List the budgets. It shows what is spent, and when each is renewed."""
    price = config.price(session.home())
    at_us = moments.at(at)
    async with session.reading() as s:
        then = None if at_us is None else await past_budgets.every(s, at_us)
        now_s = (clock.now_us() if at_us is None else at_us) // 1_000_000
        known = await budgets.spent(s, now_s, price, then)
    listing.show(
        COLUMNS, known, as_json=as_json,
        empty="There is no budget; `paddock budgets set key NAME 10` sets one.",
    )  # fmt: skip
