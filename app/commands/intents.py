"""`paddock intents`: what people asked for, and how it ended."""

from __future__ import annotations

from typing import Annotated

import typer

from app import desk, terminal, words
from app.commands import options
from storage import intents

app = options.group()


@app.command()
def tail(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 20,
    as_json: options.Json = False,
) -> None:
    """The last intents, newest at the bottom."""
    terminal.run(_tail(limit, as_json=as_json))


async def _tail(limit: int, *, as_json: bool) -> None:
    async with desk.reading() as s:
        found = await intents.tail(s, limit)
    oldest_first = sorted(found, key=lambda intent: intent.id)
    rows = [("INTENT", "AT", "WHO", "VERB", "TARGET", "STATE", "OUTCOME")]
    rows += [
        (
            str(intent.id),
            words.clock(intent.at_us),
            intent.actor,
            intent.verb,
            words.safe(intent.target),
            intent.state.value,
            words.safe(intent.outcome or ""),
        )
        for intent in oldest_first
    ]
    terminal.show(oldest_first, words.table(rows, right=(0,)), as_json=as_json)
