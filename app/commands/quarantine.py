"""`paddock quarantine`: templates that killed what rendered them, and how to try one again."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from app import listing, moments, session, words
from app.commands import options
from app.listing import Column
from storage import quarantine
from storage.past import quarantine as past_quarantine
from storage.quarantine import Quarantined

app = options.group()

COLUMNS: Final[tuple[Column[Quarantined], ...]] = (
    Column("VERSION", lambda each: each.subject),
    Column("OF", lambda each: each.kind.value),
    Column("SINCE", lambda each: words.clock(each.at_us)),
    Column("REASON", lambda each: each.reason),
)


@app.command("list")
async def every(at: options.At = None, as_json: options.Json = False) -> None:
    """List the templates that are not run, and why."""
    at_us = moments.at(at)
    async with session.reading() as s:
        found = await (quarantine.every(s) if at_us is None else past_quarantine.every(s, at_us))
    listing.show(COLUMNS, found, as_json=as_json, document=found)


@app.command()
async def lift(
    version: Annotated[
        str, typer.Argument(metavar="NAME@VERSION", help="As `paddock quarantine list` names it.")
    ],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Run the template of a prompt or model version again."""
    effect = f"template of {version}  quarantined → tried at the next request"
    agreed = session.agreed("quarantine.lift", version, effect, reason, yes=yes)
    done = await session.ask("quarantine.lift", version, {}, reason=agreed.reason)
    session.report(done, as_json=as_json)
