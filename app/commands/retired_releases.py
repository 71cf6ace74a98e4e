"""`paddock releases retire` and `unretire`: releases that are out of use for good.

Imported by `app.commands.releases`, which holds the commands.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app import session, words
from app.commands import options
from storage.retired_releases import Retired

app = options.group()

Name = Annotated[str, typer.Argument(metavar="NAME", help="r14, or the start of its hash.")]


@app.command()
async def retire(
    name: Name, reason: options.Reason = "", yes: options.Yes = False, as_json: options.Json = False
) -> None:
    """Retire a release that nothing names. Lists hide it, and it gets no traffic."""
    await _asked("releases.retire", name, f"{name}  retire", reason, yes=yes, as_json=as_json)


@app.command()
async def unretire(
    name: Name, reason: options.Reason = "", yes: options.Yes = False, as_json: options.Json = False
) -> None:
    """Bring a retired release back."""
    await _asked("releases.unretire", name, f"{name}  unretire", reason, yes=yes, as_json=as_json)


async def _asked(
    verb: str, name: str, effect: str, reason: str, *, yes: bool, as_json: bool
) -> None:
    agreed = session.agreed(verb, name, effect, reason, yes=yes)
    done = await session.ask(verb, name, reason=agreed.reason, confirm=agreed.confirm)
    session.report(done, as_json=as_json)


def words_of(gone: Retired | None) -> str:
    """Who retired a release, when and why; a dash for one that is in use."""
    if gone is None:
        return words.UNKNOWN
    why = f": {words.safe(gone.reason)}" if gone.reason else ""
    return f"{words.clock(gone.at_us)} by {gone.actor}{why}"
