"""`paddock intents`: what people asked for, and how it ended."""

from __future__ import annotations

from typing import Annotated

import typer

from app import session, terminal, words
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
    async with session.reading() as s:
        found = await intents.tail(s, limit)
    oldest_first = sorted(found, key=lambda intent: intent.id)
    rows = [("INTENT", "AT", "WHO", "VERB", "TARGET", "STATE", "OUTCOME", "REASON")]
    rows += [
        (
            str(intent.id),
            words.clock(intent.at_us),
            intent.actor,
            intent.verb,
            words.safe(intent.target),
            intent.state.value,
            words.safe(intent.outcome or "") or words.UNKNOWN,
            words.safe(intent.reason) or words.UNKNOWN,
        )
        for intent in oldest_first
    ]
    terminal.show(oldest_first, words.table(rows, right=(0,)), as_json=as_json)


@app.command()
def show(
    id: Annotated[int, typer.Argument(metavar="ID", min=1, help="As the tail numbers them.")],
    as_json: options.Json = False,
) -> None:
    """One intent in full: who asked for what, why, and how it ended."""
    terminal.run(_show(id, as_json=as_json))


async def _show(id: int, *, as_json: bool) -> None:
    async with session.reading() as s:
        intent = await intents.find(s, id)
    ended = words.UNKNOWN if intent.ended_at_us is None else words.clock(intent.ended_at_us)
    lines = words.table(
        [
            ("intent", str(intent.id)),
            ("at", words.clock(intent.at_us)),
            ("who", f"{intent.actor}, {intent.role}"),
            (
                "on behalf of",
                words.UNKNOWN if intent.on_behalf_of is None else f"intent {intent.on_behalf_of}",
            ),
            ("verb", intent.verb),
            ("target", words.safe(intent.target)),
            ("with", words.safe(terminal.compact(intent.arguments))),
            ("reason", words.safe(intent.reason) or words.UNKNOWN),
            (
                "expected version",
                words.UNKNOWN if intent.expected_version is None else str(intent.expected_version),
            ),
            ("state", intent.state.value),
            ("claimed by", intent.claimed_by or words.UNKNOWN),
            ("ended", ended),
            ("outcome", words.safe(intent.outcome or words.UNKNOWN)),
        ]
    )
    terminal.show(intent, lines, as_json=as_json)
