"""`paddock ledger`: who changed what, and why."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

import msgspec
import typer

from app import errors, listing, moments, session, terminal, words
from app.commands import options
from app.listing import Column
from storage import ledger, ledger_chain
from storage.ledger import Entry

app = options.group()


Explained = tuple[Entry, str]  # with its reason, or that of its intent

COLUMNS: Final[tuple[Column[Explained], ...]] = (
    Column("ENTRY", lambda row: str(row[0].id), right=True),
    Column("AT", lambda row: words.clock(row[0].at_us)),
    Column("WHO", lambda row: row[0].actor),
    Column("DID", lambda row: row[0].verb),
    Column("TO", lambda row: f"{row[0].noun} {row[0].key}"),
    Column("BEFORE", lambda row: _brief(row[0].before), below=True),
    Column("AFTER", lambda row: _brief(row[0].after), below=True),
    Column("REASON", lambda row: words.known(row[1]), below=True),
)


@app.command()
async def tail(
    limit: options.Limit = 20,
    who: Annotated[
        str | None, typer.Option("--who", metavar="NAME", help="Only what this person did.")
    ] = None,
    noun: Annotated[
        str | None,
        typer.Option("--noun", help="Only changes of this kind of thing: service, node."),
    ] = None,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """List the last entries, newest at the bottom. --at lists those up to then."""
    at_us = moments.at(at)
    async with session.reading() as s:
        entries = await ledger.tail(s, limit, actor=who, noun=noun, until_us=at_us)
        found = sorted(entries, key=lambda entry: entry.id)
        reasons = await ledger.reasons(s, found)
    explained = [(entry, entry.reason or reasons.get(entry.intent_id or 0, "")) for entry in found]
    document = [{**msgspec.to_builtins(entry), "reason": reason} for entry, reason in explained]
    listing.show(COLUMNS, explained, as_json=as_json, document=document)


@app.command()
async def verify(
    noted: Annotated[
        str | None,
        typer.Option("--noted", metavar="HEAD", help="A head that was printed on an earlier day."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Check that no entry was changed or removed.

    Exits with 1 and names the first that was. Note the head elsewhere: with it, a ledger that was
    rewritten as a whole is detected as well.
    """
    head = None if noted is None else ledger_chain.head(noted)
    if noted is not None and head is None:
        raise errors.BadWord("--noted takes a head as this command prints it: 92:5f2c…")
    async with session.reading() as s:
        found = await ledger_chain.verify(s, head)
    said = f"{words.counted(found.entries, 'entry', 'entries')}, head {found.head.words}"
    if found.broken is not None:
        said = f"entry {found.broken} of the ledger: {found.why}; {found.entries} before it fit"
    if as_json:
        terminal.show(found, (), as_json=True)
    elif found.broken is None:
        terminal.say(f"The ledger is as it was written: {said}.")
    if found.broken is not None:
        raise errors.AppError(f"{said[0].upper()}{said[1:]}.")


def _brief(value: Any) -> str:
    """A value, shortened."""
    if value is None:
        return words.UNKNOWN
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return words.cut(words.safe(text), 32)
