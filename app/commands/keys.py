"""`paddock keys`: the secret is made here and shown once; only its hash is sent."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from app import errors, listing, moments, session, terminal, words
from app.commands import options
from app.listing import Column
from storage import keys
from storage.errors import Unanswered
from storage.keys import Key
from storage.past import keys as past_keys

app = options.group()

Name = Annotated[str, typer.Argument(metavar="NAME", help="The key's name or prefix.")]


@app.command()
async def create(
    name: Annotated[str, typer.Option("--name", help="Whose key it is.")],
    role: Annotated[
        keys.Role, typer.Option("--role", help="What it may do.", case_sensitive=False)
    ] = keys.Role.CLIENT,
    tenant: Annotated[str, typer.Option("--tenant", help="Who is counted; else the name.")] = "",
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Its requests are synthetic load, and labelled so.")
    ] = False,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Create a key; its secret is printed this once."""
    minted = keys.mint()
    arguments: dict[str, object] = {
        "name": name,
        "prefix": minted.prefix,
        "sha256": minted.sha256,
        "role": role.value,
        "tenant": tenant or name,
        "synthetic": synthetic,
    }
    try:
        done = await session.ask("keys.add", name, arguments, reason=reason)
    except Unanswered:
        terminal.say(f"{minted.secret}\nKeep it: the key may still be created.")
        raise
    if as_json and (done.ok or done.waits):  # it may still be created
        document = {"name": name, "role": role.value, "secret": minted.secret, "state": done.state}
        terminal.show(document, (), as_json=True)
        if done.waits:
            raise errors.Waits(done.sentence)
        return
    session.report(done, then=f"{minted.secret}\nKeep it now: it is not shown again.")


@app.command()
async def revoke(
    name: Name,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Revoke a key: requests with it are refused from now on."""
    effect = f"Key {name}  active → revoked, for good; its clients are refused at once"
    agreed = session.agreed("keys.revoke", name, effect, reason, yes=yes)
    done = await session.ask("keys.revoke", name, reason=agreed.reason, confirm=agreed.confirm)
    session.report(done, as_json=as_json)


@app.command()
async def reset(
    reason: options.Reason = "", yes: options.Yes = False, as_json: options.Json = False
) -> None:
    """Revoke all keys and replace the pepper. Use it if that was lost or leaked."""
    effect = "All keys  active → revoked, for good; every client is refused until it has a new one"
    agreed = session.agreed("keys.reset", "all", effect, reason, yes=yes)
    done = await session.ask("keys.reset", "all", reason=agreed.reason, confirm=agreed.confirm)
    session.report(done, as_json=as_json)


def _status(key: Key) -> str:
    return "active" if key.revoked_at_us is None else f"revoked {words.clock(key.revoked_at_us)}"


COLUMNS: Final[tuple[Column[Key], ...]] = (
    Column("KEY", lambda key: key.name),
    Column("PREFIX", lambda key: key.prefix),
    Column("ROLE", lambda key: key.role.value),
    Column("TENANT", lambda key: key.tenant),
    Column("LOAD", lambda key: "synthetic" if key.synthetic else "real"),
    Column("STATUS", _status),
    Column("CREATED", lambda key: words.clock(key.created_at_us)),
    Column("BY", lambda key: key.created_by),
)


@app.command("list")
async def every(at: options.At = None, as_json: options.Json = False) -> None:
    """List all keys, without their secrets."""
    at_us = moments.at(at)
    async with session.reading() as s:
        known = await (keys.every(s) if at_us is None else past_keys.every(s, at_us))
    listing.show(COLUMNS, known, as_json=as_json)


@app.command()
async def show(name: Name, at: options.At = None, as_json: options.Json = False) -> None:
    """Show a key, without its secret."""
    at_us = moments.at(at)
    async with session.reading() as s:
        key = await (keys.find(s, name) if at_us is None else past_keys.find(s, name, at_us))
    terminal.show(key, words.table(listing.facts(COLUMNS, key)), as_json=as_json)
