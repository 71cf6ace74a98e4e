"""`paddock incidents write`, `post-mortem` and `items`: what people write after an incident.

Imported by `app.commands.incidents`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from app import errors, listing, moments, session, terminal, words
from app.commands import options
from app.listing import Column
from runbooks import post_mortem as documents
from storage import incidents, post_mortems
from storage.home import clock, config
from storage.incidents import Section
from storage.past import incidents as past_incidents
from storage.post_mortems import ActionItem

app = options.group()
items = options.group()


@app.command()
async def write(
    name: options.Incident,
    section: Annotated[Section, typer.Argument()],
    text: Annotated[str | None, typer.Argument(help="Markdown; an empty one removes it.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Read the text from this file.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write a section of the post-mortem."""
    if (text is None) == (file is None):
        raise errors.BadWord("Give either the text or --file.")
    if file is not None:
        try:
            text = file.read_text("utf-8")
        except (OSError, UnicodeError) as error:
            raise errors.BadWord(f"{file} cannot be read as text: {error}.") from error
    done = await session.ask(
        "incidents.write", f"INC-{incidents.number(name)}", {"section": section.value, "text": text}
    )
    session.report(done, as_json=as_json)


@app.command("post-mortem")
async def post_mortem(
    name: options.Incident,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it into this file.")
    ] = None,
) -> None:
    """Print the post-mortem as Markdown. Its figures are read from the store."""
    now = clock.now_us()
    async with session.reading() as s:
        incident = await incidents.find(s, incidents.number(name))
        found = await documents.read(s, incident, now, config.price(session.home()))
    document = documents.markdown(found)
    if output is None:
        terminal.say(document.rstrip("\n"))
        return
    try:
        output.write_text(document, "utf-8")
    except OSError as error:
        raise errors.AppError(f"{output} cannot be written: {error.strerror}.") from error
    terminal.say(f"Wrote the post-mortem of {incident.name} to {output}.")


@items.command("list")
async def open_items(
    name: Annotated[str | None, typer.Argument(metavar="[INC-N]")] = None,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """List the action items of an incident. Without one, all that are not done."""
    at_us = moments.at(at)
    async with session.reading() as s:
        number = None if name is None else (await incidents.find(s, incidents.number(name))).id
        if at_us is None:
            found = await post_mortems.items(s, number)
        else:
            found = await past_incidents.items(s, at_us, number)
    listing.show(ITEMS, found, as_json=as_json, empty="No action items.")


@items.command("add")
async def add_item(
    name: options.Incident,
    title: Annotated[str, typer.Argument(help="What will be done.")],
    owner: Annotated[str, typer.Option("--owner", help="Who does it.")],
    as_json: options.Json = False,
) -> None:
    """Add an action item."""
    done = await session.ask(
        "incidents.add_item", f"INC-{incidents.number(name)}", {"title": title, "owner": owner}
    )
    session.report(done, as_json=as_json)


@items.command("done")
async def finish_item(
    name: options.Incident,
    item: Annotated[int, typer.Argument(min=1, help="Its number.")],
    as_json: options.Json = False,
) -> None:
    """Mark an action item as done."""
    done = await session.ask(
        "incidents.finish_item", f"INC-{incidents.number(name)}", {"item": item}
    )
    session.report(done, as_json=as_json)


ITEMS: Final[tuple[Column[ActionItem], ...]] = (
    Column("ITEM", lambda each: str(each.id), right=True),
    Column("INCIDENT", lambda each: f"INC-{each.incident_id}"),
    Column("OWNER", lambda each: each.owner),
    Column("DONE", lambda each: words.clock(each.done_at_us)),
    Column("TITLE", lambda each: each.title),
)
