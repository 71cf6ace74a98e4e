"""`paddock prices`: what a GPU-hour, a kilowatt-hour and the tokens of upstreams cost."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Final

import typer

from app import amounts, errors, listing, moments, session, words
from app.commands import options
from app.listing import Column
from storage import prices
from storage.home import clock, config
from storage.prices import Price

app = options.group()

Subject = Annotated[
    str,
    typer.Argument(metavar="WHAT", help="gpu-hour, kwh, an upstream, or UPSTREAM/MODEL."),
]
From = Annotated[
    str,
    typer.Option("--from", metavar="TIME", help="Since when: 2026-11-27, 2026-11-27T14:30; now."),
]


@app.command()
async def set(
    subject: Subject,
    amount: Annotated[
        str, typer.Argument(metavar="[AMOUNT]", help="Of a GPU-hour or a kWh: 2.50.")
    ] = "",
    input_: Annotated[
        str, typer.Option("--input", metavar="AMOUNT", help="Of a million prompt tokens.")
    ] = "",
    output: Annotated[
        str, typer.Option("--output", metavar="AMOUNT", help="Of a million answer tokens.")
    ] = "",
    cached: Annotated[
        str,
        typer.Option("--cached", metavar="AMOUNT", help="Of a million cached prompt tokens."),
    ] = "",
    currency: Annotated[
        str, typer.Option("--currency", metavar="XXX", help="EUR, USD …; else that of the box.")
    ] = "",
    since: From = "",
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Set a price from a time on. It applies from the beginning of that quarter hour."""
    if not (amount or input_ or output):
        raise errors.BadWord("Give the price: AMOUNT, or --input and --output for an upstream.")
    figures = {
        name: amounts.micro(typed)
        for name, typed in (("micro", amount), ("input_micro", input_), ("output_micro", output),
                            ("cached_micro", cached))
        if typed
    }  # fmt: skip
    arguments: dict[str, object] = {"from_s": _since(since), **figures}
    if currency:
        arguments["currency"] = currency.upper()
    done = await session.ask("prices.set", subject, arguments, reason=reason)
    session.report(done, as_json=as_json)


@app.command()
async def unset(
    subject: Subject,
    since: From = "",
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Remove a price from a time on. What it would price is then unknown."""
    done = await session.ask("prices.set", subject, {"from_s": _since(since)}, reason=reason)
    session.report(done, as_json=as_json)


def _amount(price: Price) -> str:
    if price.unset:
        return "none"
    if price.micro is not None:
        return f"{amounts.shown(price.micro, unknown='')} {price.currency}"
    parts = (("in", price.input_micro), ("cached", price.cached_micro), ("out", price.output_micro))
    said = [f"{amounts.shown(each, unknown='')} {name}" for name, each in parts if each is not None]
    return f"{', '.join(said)} {price.currency} per 1M tokens"


COLUMNS: Final[tuple[Column[Price], ...]] = (
    Column("PRICE", lambda price: words.safe(price.subject)),
    Column("FROM", lambda price: _from(price.from_s)),
    Column("AMOUNT", _amount),
    Column("SET BY", lambda price: price.set_by),
    Column("AT", lambda price: words.clock(price.set_at_us or None)),
)


@app.command("list")
async def every(at: options.At = None, as_json: options.Json = False) -> None:
    """List all prices with the times from which they apply.

    The latest of each comes last. --at lists those that had been set by then.
    """
    at_us = moments.at(at)
    async with session.reading() as s:
        known = await prices.listed(s, config.price(session.home()))
    versions = [each for each in known.versions if at_us is None or each.set_at_us <= at_us]
    found = sorted(versions, key=lambda price: (price.subject, price.from_s, price.id))
    listing.show(
        COLUMNS, found, as_json=as_json,
        empty="No price is set: `paddock prices set gpu-hour 2.50` sets one.",
    )  # fmt: skip


def _since(typed: str) -> int:
    if not typed:
        return clock.now_us() // 1_000_000
    return amounts.moment(typed, config.price(session.home()).time_zone)


def _from(second: int) -> str:
    if not second:
        return "the beginning"
    return dt.datetime.fromtimestamp(second, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
