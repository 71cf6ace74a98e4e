"""`paddock models remove` and `gc`: versions and downloaded files that nothing needs.

Imported by `app.commands.models`, which holds the commands.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from app import errors, listing, session, terminal, words
from app.commands import options
from app.listing import Column
from storage import models, unused_models
from storage.unused_models import Unused

app = options.group()

_UNUSED: Final[tuple[Column[Unused], ...]] = (
    Column("SHA-256", lambda each: f"{each.sha256[:16]}…"),
    Column("SIZE", lambda each: words.size(each.size_bytes), right=True),
    Column("WAS", lambda each: words.known(", ".join(each.versions))),
)


@app.command()
async def remove(
    name: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="ops@1.0.0")],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Remove a version that nothing needs. Its file is deleted if it was downloaded."""
    async with session.reading() as s:
        version = await models.find(s, name)
    kept = f"; {version.path} stays" if version.source is None else ", with its file"
    effect = f"remove {version.name}{kept}"
    agreed = session.agreed("models.remove", version.name, effect, reason, yes=yes)
    done = await session.ask(
        "models.remove", version.name, reason=agreed.reason, confirm=agreed.confirm
    )
    session.report(done, as_json=as_json)


@app.command()
async def gc(
    unused: Annotated[
        bool, typer.Option("--unused", help="First remove downloaded versions without a use.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would free.")
    ] = False,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Delete downloaded files that nothing needs. Files elsewhere are kept."""
    async with session.reading() as s:
        spare = await unused_models.spare(s) if unused else []
        needs = await unused_models.needs(s)
    home = session.home()
    try:
        found = unused_models.find(home, needs, also=[each.id for each in spare])
    except PermissionError as error:
        raise errors.AppError(
            f"Only the user who runs the node can read {home.models}; run this as that user."
        ) from error
    total = words.size(sum(each.size_bytes for each in found))
    if dry_run or not found:
        listing.show(_UNUSED, found, as_json=as_json, empty="Every downloaded file is needed.")
        if found and not as_json:
            terminal.say(f"{total} would be freed.")
        return
    effect = f"delete {words.counted(len(found), 'file')}, {total}"
    if spare:
        effect += f"; remove {words.one_of([each.name for each in spare])}"
    agreed = session.agreed("models.gc", "models", effect, reason, yes=yes)
    done = await session.ask(
        "models.gc", "models", {"unused": unused}, reason=agreed.reason, confirm=agreed.confirm
    )
    session.report(done, as_json=as_json)
