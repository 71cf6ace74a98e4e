"""`paddock prompts`: add versions from files, look at them, move their labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app import errors, listing, prompt_files, session, terminal
from app.commands import options
from app.figures import prompts as figures
from storage import prompt_labels, prompt_uses, prompts, splits
from storage.store import Session

app = options.group()

Reference = Annotated[
    str, typer.Argument(metavar="NAME", help="terse@3, terse@1.2.0 (a tag), terse:beta, terse")
]
LabelName = Annotated[str, typer.Argument(metavar="NAME:LABEL", help="terse:production")]


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
    """Add a prompt version: a TOML file, or a text file as the system message."""
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
        typer.Option(metavar="NAME@NUMBER", help="Go on after this version, where a page ended."),
    ] = None,
    limit: options.Limit = prompts.PAGE,
    as_json: options.Json = False,
) -> None:
    """Prompt versions by name, newest first, with the labels that point at them."""
    async with session.reading() as s:
        last = None
        if after is not None:
            version = await prompts.find(s, after)
            last = version.prompt, version.number
        found = await prompts.page(s, prompt=name, after=last, limit=limit + 1)
        if name is not None and not found:
            await prompts.find(s, f"{name}:{prompts.LATEST}")  # says which prompts there are
        shown = found[:limit]
        rows = figures.listed(shown, await prompt_labels.of(s, [each.prompt for each in shown]))
    listing.show(figures.COLUMNS, rows, as_json=as_json, document=[row.document for row in rows])
    if len(found) > limit and not as_json:
        of = "" if name is None else f" {name}"
        terminal.say(f"More: paddock prompts list{of} --after {shown[-1].name}")


@app.command()
async def show(name: Reference, as_json: options.Json = False) -> None:
    """One prompt version in full: its labels, where it is used, its messages.

    Found by a label, it comes with the moves of that label.
    """
    async with session.reading() as s:
        full = await read(s, name)
    lines = figures.facts(full)
    if full.moves:
        lines += ["", *listing.table(figures.MOVES, full.moves)]
    lines += figures.text(full.version)
    terminal.show(full.document, lines, as_json=as_json)


async def read(s: Session, name: str) -> figures.Full:
    """All that is known of a version, with the moves of the label that it is found by."""
    version = await prompts.find(s, name)
    newest = await prompts.find(s, f"{version.prompt}:{prompts.LATEST}")
    label = "" if "@" in name else name.partition(":")[2] or prompts.PRODUCTION
    return figures.Full(
        version=version,
        latest=newest.number == version.number,
        labels=tuple(
            each
            for each in await prompt_labels.of(s, [version.prompt])
            if each.number == version.number
        ),
        uses=tuple(await prompt_uses.of(s, version.prompt, version.number)),
        moves=tuple(await prompt_labels.history(s, version.prompt, label)),
    )


@app.command()
async def label(
    name: Annotated[str, typer.Argument(metavar="NAME@NUMBER", help="terse@3")],
    label: Annotated[str, typer.Argument(metavar="LABEL", help="production")],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Point a label at a version.

    Each release that follows the label gets a successor, and the services that it serves get that;
    other releases keep the version that they were created with.
    """
    async with session.reading() as s:
        version = await prompts.find(s, name)
        before = (await prompts.labels(s, version.prompt)).get(label)
        uses = await prompt_uses.of(s, version.prompt)
    effect = figures.effect(f"{version.prompt}:{label}", before, version.number, uses)
    agreed = session.agreed("prompts.label", version.prompt, effect, reason, yes=yes)
    done = await session.ask(
        "prompts.label",
        version.prompt,
        {"label": label, "number": version.number},
        reason=agreed.reason,
        expected_version=before or 0,
    )
    session.report(done, as_json=as_json)


@app.command()
async def undo(
    name: LabelName,
    to: Annotated[
        int | None,
        typer.Option("--to", metavar="MOVE", min=1, help="As `prompts show NAME:LABEL` has them."),
    ] = None,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Move a label back to where it was before its last move, or to where a move had put it.

    Going back twice changes once: a label that is back already stays there.
    """
    prompt, label = _label(name)
    async with session.reading() as s:
        at = await prompt_labels.find(s, prompt, label)
        target = to or splits.roll_back_target(await prompt_labels.history(s, prompt, label, 2))
        if target is None:
            raise errors.AppError(f"{at.name} was set once only; there is nothing to undo.")
        move = await prompt_labels.find_move(s, prompt, label, target)
        uses = await prompt_uses.of(s, prompt)
    effect = figures.effect(at.name, at.number, move.number, uses)
    agreed = session.agreed("prompts.undo", prompt, effect, reason, yes=yes)
    arguments: dict[str, object] = {"label": label, "to": target}
    done = await session.ask("prompts.undo", prompt, arguments, reason=agreed.reason)
    session.report(done, as_json=as_json)


@app.command()
async def protect(
    name: LabelName,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Let only admins move a label from now on."""
    effect = "only admins move it from now on"
    await _protect("prompts.protect", name, effect, reason, yes=yes, as_json=as_json)


@app.command()
async def unprotect(
    name: LabelName,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Let operators move a label again."""
    effect = "operators may move it again"
    await _protect("prompts.unprotect", name, effect, reason, yes=yes, as_json=as_json)


async def _protect(
    verb: str, name: str, effect: str, reason: str, *, yes: bool, as_json: bool
) -> None:
    prompt, label = _label(name)
    agreed = session.agreed(verb, prompt, f"{name}  {effect}", reason, yes=yes)
    done = await session.ask(verb, prompt, {"label": label}, reason=agreed.reason)
    session.report(done, as_json=as_json)


def _label(name: str) -> tuple[str, str]:
    """The prompt and the label of `terse:production`; a bare name means that label, too."""
    prompt, _, label = name.partition(":")
    if "@" in name:
        raise errors.BadWord(f"{name} is a version; name a label, as in terse:production.")
    return prompt, label or prompts.PRODUCTION
