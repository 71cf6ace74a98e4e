"""`paddock ledger`: who did what, in order."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from app import session, terminal, words
from app.commands import options
from storage import ledger

app = options.group()


@app.command()
def tail(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 20,
    as_json: options.Json = False,
) -> None:
    """The last entries, newest at the bottom."""
    terminal.run(_tail(limit, as_json=as_json))


async def _tail(limit: int, *, as_json: bool) -> None:
    async with session.reading() as s:
        found = await ledger.tail(s, limit)
    oldest_first = sorted(found, key=lambda entry: entry.id)
    rows = [("ENTRY", "AT", "WHO", "DID", "TO", "BEFORE", "AFTER")]
    rows += [
        (
            str(entry.id),
            words.clock(entry.at_us),
            entry.actor,
            entry.verb,
            words.safe(f"{entry.noun} {entry.key}"),
            _brief(entry.before),
            _brief(entry.after),
        )
        for entry in oldest_first
    ]
    terminal.show(oldest_first, words.table(rows, right=(0,)), as_json=as_json)


def _brief(value: Any) -> str:
    """What stood there, in a few words."""
    if value is None:
        return words.UNKNOWN
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return words.cut(words.safe(text), 32)
