"""`paddock ledger`: who changed what, and why."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
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
        found = sorted(await ledger.tail(s, limit), key=lambda entry: entry.id)
        reasons = await ledger.reasons(s, found)
    rows = [("ENTRY", "AT", "WHO", "DID", "TO", "BEFORE", "AFTER", "REASON")]
    rows += [
        (
            str(entry.id),
            words.clock(entry.at_us),
            entry.actor,
            entry.verb,
            words.safe(f"{entry.noun} {entry.key}"),
            _brief(entry.before),
            _brief(entry.after),
            words.safe(reasons.get(entry.intent_id or 0, "")) or words.UNKNOWN,
        )
        for entry in found
    ]
    document = [
        {**msgspec.to_builtins(entry), "reason": reasons.get(entry.intent_id or 0, "")}
        for entry in found
    ]
    terminal.show(document, words.table(rows, right=(0,)), as_json=as_json)


def _brief(value: Any) -> str:
    """A value, shortened."""
    if value is None:
        return words.UNKNOWN
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return words.cut(words.safe(text), 32)
