"""`paddock intents`: what people asked for, and how it ended."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from app import listing, moments, session, terminal, words
from app.commands import options
from app.listing import Column
from storage import intents
from storage.intents import Intent
from storage.past import intents as past_intents

app = options.group()


COLUMNS: Final[tuple[Column[Intent], ...]] = (
    Column("INTENT", lambda intent: str(intent.id), right=True),
    Column("AT", lambda intent: words.clock(intent.at_us)),
    Column("WHO", lambda intent: intent.actor),
    Column("VERB", lambda intent: intent.verb),
    Column("TARGET", lambda intent: intent.target),
    Column("STATE", lambda intent: intent.state.value),
    Column("OUTCOME", lambda intent: words.known(intent.outcome), below=True),
    Column("REASON", lambda intent: words.known(intent.reason), below=True),
)


@app.command()
async def tail(
    limit: options.Limit = 20,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """List the last intents, newest at the bottom. --at lists them as they were then."""
    at_us = moments.at(at)
    async with session.reading() as s:
        found = (
            await intents.tail(s, limit)
            if at_us is None
            else await past_intents.tail(s, at_us, limit)
        )
    oldest_first = sorted(found, key=lambda intent: intent.id)
    listing.show(COLUMNS, oldest_first, as_json=as_json)


@app.command()
async def show(
    id: Annotated[int, typer.Argument(metavar="ID", min=1, help="As the tail numbers them.")],
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """Show an intent: who asked for what, why, and how it ended."""
    at_us = moments.at(at)
    async with session.reading() as s:
        intent = await (intents.find(s, id) if at_us is None else past_intents.find(s, id, at_us))
    behalf = intent.on_behalf_of
    rows = [
        ("intent", str(intent.id)),
        ("at", words.clock(intent.at_us)),
        ("who", f"{intent.actor}, {intent.role}"),
        ("on behalf of", words.UNKNOWN if behalf is None else f"intent {behalf}"),
        ("verb", intent.verb),
        ("target", intent.target),
        ("with", terminal.compact(intent.arguments)),
        ("reason", words.known(intent.reason)),
        ("expected version", words.whole(intent.expected_version)),
        ("state", intent.state.value),
        ("claimed by", words.known(intent.claimed_by)),
        ("ended", words.clock(intent.ended_at_us)),
        ("outcome", words.known(intent.outcome)),
    ]
    terminal.show(intent, words.table(rows), as_json=as_json)
