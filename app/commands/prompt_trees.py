"""`paddock prompts export` and `import`: prompts as files under version control.

Imported by `app.commands.prompts`, which holds the commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from app import errors, prompt_trees, session, terminal, words
from app.commands import options
from storage import prompts
from storage.control_socket import client
from storage.store import Session

app = options.group()

_MOST: Final = client.LINE_LIMIT * 15 // 16
"""Bytes of the versions in one import; the rest is for its reason and target."""


@app.command("export")
async def export(
    names: Annotated[list[str], typer.Argument(metavar="[NAME] DIR", help="terse prompts/")],
    as_json: options.Json = False,
) -> None:
    """Write the versions of prompts to files below a directory.

    A version is DIR/NAME/NUMBER. Existing files stay; if a version exists there with other content,
    that is an error and nothing is written.
    """
    *named, directory = names
    if len(named) > 1:
        raise errors.BadWord("Export one prompt, or all of them: [NAME] DIR.")
    async with session.reading() as s:
        wanted = named or await prompts.named(s)
        versions = [each for name in wanted for each in await _versions(s, name)]
    written, there = prompt_trees.write(Path(directory), versions)
    said = f"Wrote {len(written)} versions to {directory}; {len(there)} were there already."
    terminal.show({"written": written, "there": there}, [said], as_json=as_json)


async def _versions(s: Session, name: str) -> list[prompts.PromptVersion]:
    if not (found := await prompts.versions(s, name)):
        await prompts.find(s, f"{name}:{prompts.LATEST}")  # says which prompts there are
    return found


@app.command("import")
async def import_(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="As `prompts export` wrote it.")],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="These prompts only.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all of it, and change nothing.")
    ] = False,
    in_parts: Annotated[
        bool,
        typer.Option("--in-parts", help="More than fits into one import: each part is whole."),
    ] = False,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Add the prompt versions of a directory: all or none.

    With --in-parts an import that stops is continued by the same command. Labels are not moved.
    """
    read = prompt_trees.read(directory, names or ())
    async with session.reading() as s:
        known = {
            version.name: version
            for name in {each.prompt for each in read}
            for version in await prompts.page(s, prompt=name, limit=None)
        }
    differ = [each for each in read if not _same(each, known.get(each.name))]
    if not differ:
        said = f"{words.counted(len(read), 'version')} here already; no change."
        terminal.show(
            {"intent": None, "state": "unchanged", "outcome": said}, [said], as_json=as_json
        )
        return
    parts = prompt_trees.parts(differ, _MOST)
    if len(parts) > 1 and (dry_run or not in_parts):
        raise errors.AppError(
            f"The {len(differ)} new versions in {directory} are more than the "
            f"{client.LINE_LIMIT >> 20} MiB that one import can take, and nothing was imported. "
            f"Import prompt by prompt (`paddock prompts import {directory} NAME`), or, without "
            f"--dry-run, in {len(parts)} parts with --in-parts."
        )
    for part in parts:
        arguments: dict[str, object] = {
            "versions": [each.arguments for each in part],
            "dry_run": dry_run,
        }
        target = ", ".join(sorted({each.prompt for each in part}))[:200]
        done = await session.ask("prompts.import", target, arguments, reason=reason)
        session.report(done, as_json=as_json)


def _same(read: prompt_trees.Read, known: prompts.Summary | None) -> bool:
    return known is not None and (known.sha256, known.tag) == (
        read.sha256,
        read.arguments.get("tag"),
    )
