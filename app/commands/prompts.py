"""`paddock prompts`: add versions from files, list, show and compare them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app import listing, moments, prompt_files, session, terminal, word_diff, words
from app.commands import options, prompt_labels, prompt_trees
from app.figures import prompts as figures
from storage import prompt_labels as labels
from storage import prompt_uses, prompts, quarantine
from storage.control_socket import client
from storage.past import prompts as past_prompts
from storage.past import quarantine as past_quarantine

app = options.group()

Reference = Annotated[
    str, typer.Argument(metavar="NAME", help="terse@3, terse@1.2.0 (a tag), terse:beta, terse")
]


@app.command()
async def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A TOML file, or plain text.")],
    name: Annotated[
        str | None, typer.Option("--name", help="The prompt's name; overrides the file's.")
    ] = None,
    tag: Annotated[
        str | None, typer.Option("--tag", metavar="1.0.0", help="A semantic version as its tag.")
    ] = None,
    parent: Annotated[
        int | None, typer.Option(min=1, help="The version it was made from; else the latest.")
    ] = None,
    comment: Annotated[
        str, typer.Option("--comment", help="What is new in it; overrides the file's.")
    ] = "",
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Add a prompt version. A text file becomes the system message."""
    read = prompt_files.read(file, name)
    read["comment"] = comment or read.get("comment", "")
    read |= {key: value for key, value in (("tag", tag), ("parent", parent)) if value is not None}
    done = await session.ask("prompts.add", str(read["prompt"]), read, reason=reason)
    session.report(done, as_json=as_json)


@app.command("list")
async def every(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One prompt.")] = None,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="NAME@NUMBER", help="Continue after this version, where a page ended."
        ),
    ] = None,
    limit: options.Limit = prompts.PAGE,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """List prompt versions, newest first, with their labels."""
    if (at_us := moments.at(at)) is not None:
        await _then(name, at_us, limit, as_json=as_json)
        return
    async with session.reading() as s:
        last = None
        if after is not None:
            version = await prompts.find(s, after)
            last = version.prompt, version.number
        found = await prompts.page(s, prompt=name, after=last, limit=limit + 1)
        if name is not None and not found:
            await prompts.find(s, f"{name}:{prompts.LATEST}")  # says which prompts there are
        shown = found[:limit]
        rows = figures.listed(shown, await labels.of(s, [each.prompt for each in shown]))
    listing.show(figures.COLUMNS, rows, as_json=as_json, document=[row.document for row in rows])
    if len(found) > limit and not as_json:
        of = "" if name is None else f" {name}"
        terminal.say(f"More: paddock prompts list{of} --after {shown[-1].name}")


async def _then(name: str | None, at_us: int, limit: int, *, as_json: bool) -> None:
    """The versions and labels of a past moment."""
    async with session.reading() as s:
        found = await past_prompts.every(s, at_us, prompt=name)
        pointed = await past_prompts.labels(s, at_us, {each.prompt for each in found})
        rows = figures.listed(found, pointed)
    listing.show(
        figures.COLUMNS, rows[:limit], as_json=as_json,
        document=[row.document for row in rows[:limit]], empty="There was no prompt then.",
    )  # fmt: skip
    if len(rows) > limit and not as_json:
        terminal.say(f"These are {limit} of {len(rows)}; --limit shows more.")


@app.command()
async def show(name: Reference, at: options.At = None, as_json: options.Json = False) -> None:
    """Show a prompt version: labels, uses and messages.

    Named by a label, it comes with the moves of that label; with --at by the labels of that time.
    """
    at_us = moments.at(at)
    async with session.reading() as s:
        full = await figures.read(s, name, at_us)
        killing = await (quarantine.every(s) if at_us is None else past_quarantine.every(s, at_us))
    of = quarantine.Kind.PROMPT, full.version.name
    killing = [each for each in killing if (each.kind, each.subject) == of]
    lines = figures.facts(full) + [f"quarantined: {each.reason}" for each in killing]
    if full.moves:
        lines += ["", *listing.table(figures.MOVES, full.moves)]
    lines += figures.text(full.version)
    terminal.show(full.document, lines, as_json=as_json)


@app.command()
async def diff(
    before: Reference,
    after: Reference,
    as_json: options.Json = False,
) -> None:
    """Compare two versions word by word. Prints nothing where their content is the same."""
    async with session.reading() as s:
        old, new = await prompts.find(s, before), await prompts.find(s, after)
    sections = word_diff.versions(old, new)
    document = {"before": old.name, "after": new.name, "sections": sections}
    if as_json:
        terminal.show(document, (), as_json=True)
        return
    if not sections:
        terminal.say(f"{old.name} and {new.name} have the same content.")
    for section in sections:
        terminal.say(f"{section.title}  {old.name} → {new.name}")
        for row in word_diff.lines(section):
            if terminal.colours():
                same = word_diff.Change.SAME
                parts = [(each.text, "" if each.change is same else each.change) for each in row]
                terminal.say_coloured([("  ", ""), *parts])
            else:
                terminal.say(f"  {word_diff.marked(row)}")


@app.command()
async def preview(
    name: Reference,
    var: Annotated[
        list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="A variable.")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="TEXT", help="What a client would say.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME@VERSION", help="Whose tokens to count.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Render a version as a request would, and count its tokens.

    Tokens are counted by a loaded model, the chat template included. Also says where it is used.
    """
    async with session.reading() as s:
        version = await prompts.find(s, name)
        uses = await prompt_uses.of(s, version.prompt, version.number)
    values = prompt_files.variables(version, var or ())
    found = await client.preview(session.home(), version.id, values, model=model, user=user)
    lines = []
    for message in found["messages"]:
        lines += [f"[{message['role']}]", message["content"], ""]
    counted = f"{words.counted(found['tokens'] or 0, 'token')} by {found['model']}"
    if found["tokens"] is None:
        counted = f"not counted: {found['why']}"
    lines += words.table([("name", version.name), ("tokens", counted), *figures.uses(uses)])
    terminal.show({"name": version.name, **found, "uses": uses}, lines, as_json=as_json)


app.take(prompt_labels.app, prompt_trees.app)
