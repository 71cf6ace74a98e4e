"""`paddock cost`: what was spent, on what, and what today will come to."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from app import amounts, errors, listing, moments, session, terminal, words
from app.commands import options
from app.figures import costs as figures
from app.figures.costs import By, Row
from app.listing import Column
from storage import costs, keys, spending
from storage.costs import Bill, Line
from storage.home import clock, config
from storage.spending import Today

_SECOND_US: Final = 1_000_000
_DAYS: Final = 400


async def cost(
    by: Annotated[
        By, typer.Option("--by", help="A line for each.", case_sensitive=False)
    ] = By.SERVICE,
    since: Annotated[
        str, typer.Option("--from", metavar="TIME", help="2026-11-01; else the day so far.")
    ] = "",
    until: Annotated[
        str, typer.Option("--to", metavar="TIME", help="Up to, not including; else now.")
    ] = "",
    days: Annotated[
        int, typer.Option("--days", min=1, max=_DAYS, help="Of the last days, today included.")
    ] = 1,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """The bill of today or of a range, idle time apart; its lines add up to it exactly."""
    price = config.price(session.home())
    at_us = moments.at(at)
    now_s = (clock.now_us() if at_us is None else at_us) // _SECOND_US
    begin_s = _begin(since, days, now_s, price.time_zone)
    end_s = min(amounts.moment(until, price.time_zone) if until else now_s + 1, now_s + 1)
    if end_s <= begin_s:
        raise errors.BadWord("The range is empty: --to is not after --from, or it has not begun.")
    async with session.reading() as s:
        bill = await spending.bill(s, begin_s, end_s, price)
        today = await spending.today(s, now_s, price)
        named = {key.id: key.name for key in await keys.every(s)}
    found = costs.lines(bill, figures.grouping(by, named, price.time_zone))
    lines = listing.table(_columns(by, bill.currency), figures.rows(bill, found))
    terminal.show(
        document(bill, found, begin_s, end_s, today),
        [
            *(
                [*lines, "", *figures.notes(bill, today)]
                if bill.charges or bill.idle
                else _nothing(bill)
            ),
            *([] if at_us is None else [figures.counted_to(now_s)]),
        ],
        as_json=as_json,
    )


def document(
    bill: Bill, found: list[Line], begin_s: int, end_s: int, today: Today
) -> dict[str, object]:
    """The bill as JSON; money in micro-units, times in seconds since 1970."""
    kinds = costs.divide(bill.micro, [bill.time_pico, bill.energy_pico, bill.tokens_pico])
    return {
        "currency": bill.currency,
        "begin_s": begin_s,
        "end_s": end_s,
        "total_micro": bill.micro if bill.priced else None,
        "time_micro": kinds[0],
        "energy_micro": kinds[1],
        "tokens_micro": kinds[2],
        "idle_micro": next((line.micro for line in found if line.name is None), None),
        "lines": [
            {
                "name": line.name,
                "requests": line.requests,
                "unpriced": line.unpriced,
                "prompt_tokens": line.prompt_tokens,
                "completion_tokens": line.completion_tokens,
                "busy_us": line.busy_us,
                "micro": line.micro,
                "kilo_micro": line.kilo_micro,
            }
            for line in found
            if line.name is not None
        ],
        "missing": bill.missing,
        "today_micro": today.micro,
        "today_projected_micro": today.projected_micro,
    }


def _begin(since: str, days: int, now_s: int, zone: str) -> int:
    if since:
        return amounts.moment(since, zone)
    begin = spending.day(now_s, zone)[0]
    for _ in range(days - 1):
        begin = spending.day(begin - 1, zone)[0]
    return begin


def _columns(by: By, currency: str) -> tuple[Column[Row], ...]:
    return (
        Column(by.value.upper(), lambda row: words.safe(row.name)),
        Column("REQUESTS", lambda row: row.requests, right=True),
        Column("TOKENS", lambda row: row.tokens, right=True),
        Column(currency, lambda row: row.cost, right=True),
        Column("SHARE", lambda row: row.share, right=True),
        Column("PER 1K TOK", lambda row: row.kilo, right=True),
    )


def _nothing(bill: Bill) -> list[str]:
    return ["Nothing was used in that time.", *(f"Not priced: {why}." for why in bill.missing)]
