"""`paddock models alias` and `unalias`: names of versions that move.

Imported by `app.commands.models`, which holds the commands.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app import session
from app.commands import options
from storage import model_aliases, models

app = options.group()


@app.command()
async def alias(
    name: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="ops@1.1.0")],
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="champion")],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Point an alias at a version. Releases keep the version that they were created with."""
    model_aliases.check(alias)
    async with session.reading() as s:
        version = await models.find(s, name)
        known = await model_aliases.find(s, version.model, alias)
        before = None if known is None else await models.get(s, known.version_id)
    was = "nothing" if before is None else before.name
    effect = f"{version.model}@{alias}  {was} → {version.name}"
    agreed = session.agreed("models.alias", version.model, effect, reason, yes=yes)
    done = await session.ask(
        "models.alias",
        version.model,
        {"alias": alias, "version": version.version},
        reason=agreed.reason,
        expected_version=0 if before is None else before.id,
    )
    session.report(done, as_json=as_json)


@app.command()
async def unalias(
    model: Annotated[str, typer.Argument(metavar="NAME", help="The model: ops")],
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="champion")],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Remove an alias; the version that it points at stays."""
    async with session.reading() as s:
        version = await models.find(s, f"{model}@{alias}")
    effect = f"{model}@{alias}  {version.name} → nothing"
    agreed = session.agreed("models.unalias", model, effect, reason, yes=yes)
    done = await session.ask("models.unalias", model, {"alias": alias}, reason=agreed.reason)
    session.report(done, as_json=as_json)
