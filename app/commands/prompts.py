"""`paddock prompts`: add versions from files, look at them, move their labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from app import listing, prompt_files, session, terminal, words
from app.commands import options
from app.listing import Column
from storage import prompts
from storage.prompts import PromptVersion

app = options.group()


@app.command()
async def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A TOML file, or plain text.")],
    name: Annotated[
        str | None, typer.Option("--name", help="The prompt's name; overrides the file's.")
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
    done = await session.ask("prompts.add", str(read["prompt"]), read, reason=reason)
    session.report(done, as_json=as_json)


@app.command("list")
async def every(as_json: options.Json = False) -> None:
    """All prompt versions, with the labels that point at them."""
    async with session.reading() as s:
        known = await prompts.every(s)
        labels = {name: await prompts.labels(s, name) for name in {p.prompt for p in known}}
    columns: tuple[Column[PromptVersion], ...] = (
        Column("PROMPT", lambda version: version.name),
        Column("LABELS", lambda version: _pointing(version, labels[version.prompt])),
        Column("AUTHOR", lambda version: version.author),
        Column("ADDED", lambda version: words.clock(version.created_at_us)),
        Column("COMMENT", _comment),
    )
    listing.show(columns, known, as_json=as_json)


def _pointing(version: PromptVersion, labels: Mapping[str, int]) -> str:
    """The labels that point at a version."""
    return ", ".join(sorted(name for name, number in labels.items() if number == version.number))


def _comment(version: PromptVersion) -> str:
    return words.cut(words.safe(version.comment or ""), 40)


@app.command()
async def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="terse@3, terse:production, terse")],
    as_json: options.Json = False,
) -> None:
    """One prompt version in full."""
    async with session.reading() as s:
        version = await prompts.find(s, name)
        labels = await prompts.labels(s, version.prompt)
    lines = words.table(
        [
            ("name", version.name),
            ("labels", words.known(_pointing(version, labels))),
            ("sha256", version.sha256),
            ("added", f"{words.clock(version.created_at_us)} by {version.author}"),
            ("comment", words.known(version.comment)),
        ]
    )
    for variable in version.variables:
        needed = "required" if variable.required else f"default {variable.default!r}"
        lines.append(f"variable {variable.name}: {variable.type}, {needed}")
    for message in version.messages:
        lines += ["", f"[{message.role}]", message.template]
    terminal.show(version, lines, as_json=as_json)


@app.command()
async def label(
    name: Annotated[str, typer.Argument(metavar="NAME@NUMBER", help="terse@3")],
    label: Annotated[str, typer.Argument(metavar="LABEL", help="production")],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Point a label at a version. Releases keep the version that they were created with."""
    async with session.reading() as s:
        version = await prompts.find(s, name)
        before = (await prompts.labels(s, version.prompt)).get(label)
    was = f"{version.prompt}@{before}" if before else "nothing"
    effect = f"{version.prompt}:{label}  {was} → {version.name}"
    agreed = session.agreed("prompts.label", version.prompt, effect, reason, yes=yes)
    done = await session.ask(
        "prompts.label",
        version.prompt,
        {"label": label, "number": version.number},
        reason=agreed.reason,
        expected_version=before or 0,
    )
    session.report(done, as_json=as_json)
